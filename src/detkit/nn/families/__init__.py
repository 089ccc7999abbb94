"""How each family of detectors is wired: the `family` of an ArchSpec -> backbone, neck and head.

`FAMILIES` is the plug-in table. Backbones give maps at strides 4, 8, 16, 32, necks at 8, 16, 32,
and every head the contract of `nn.head`: class logits and a distance distribution at each cell. So
all families train with one loss and go through every verb alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from detkit.nn.families import yolo_nas, yolov5, yolov7, yolov8
from detkit.nn.head import Head, HeadKind
from detkit.nn.neck import Neck
from detkit.spec.arch import ArchSpec


@dataclass(frozen=True, kw_only=True)
class Family:
    backbone: Callable[[ArchSpec], nn.Module]
    neck: Callable[[ArchSpec], nn.Module]
    head: HeadKind


FAMILIES: dict[str, Family] = {
    "yolo-nas": Family(backbone=yolo_nas.backbone, neck=Neck, head=Head),
    "yolov5": Family(backbone=yolov5.backbone, neck=yolov5.neck, head=yolov5.Head),
    "yolov7": Family(backbone=yolov7.Backbone, neck=yolov7.Neck, head=yolov7.Head),
    "yolov8": Family(backbone=yolov8.backbone, neck=yolov8.neck, head=yolov8.Head),
}
