"""How each family of detectors is wired: the `family` of an ArchSpec -> backbone, neck and head.

`FAMILIES` is the plug-in table. Backbones give maps at strides 4, 8, 16, 32, necks at 8, 16, 32,
and every head but YOLOX's own the contract of `nn.head`: class logits and a distance distribution
at each cell. So all families train with one loss and go through every verb alike; YOLOX's own head
is decoded by functions of its own, and trained as `yolox-dfl`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from detkit.nn.families import yolo_nas, yolov5, yolov7, yolov8, yolox
from detkit.nn.head import Head, HeadKind, expected_distances
from detkit.nn.neck import Neck
from detkit.spec.arch import ArchSpec


@dataclass(frozen=True, kw_only=True)
class Family:
    backbone: Callable[[ArchSpec], nn.Module]
    neck: Callable[[ArchSpec], nn.Module]
    head: HeadKind
    scores: Callable[[Tensor], Tensor] = torch.sigmoid
    distances: Callable[[Tensor], Tensor] = expected_distances


FAMILIES: dict[str, Family] = {
    "yolo-nas": Family(backbone=yolo_nas.backbone, neck=Neck, head=Head),
    "yolov5": Family(backbone=yolov5.backbone, neck=yolov5.neck, head=yolov5.Head),
    "yolov7": Family(backbone=yolov7.Backbone, neck=yolov7.Neck, head=yolov7.Head),
    "yolov8": Family(backbone=yolov8.backbone, neck=yolov8.neck, head=yolov8.Head),
    "yolox": Family(
        backbone=yolox.Backbone,
        neck=yolox.neck,
        head=yolox.ObjectnessHead,
        scores=yolox.scores,
        distances=yolox.distances,
    ),
    "yolox-dfl": Family(backbone=yolox.Backbone, neck=yolox.neck, head=yolox.DistributionHead),
}
