"""What the authors of the named architectures published: AP of their weights, not of ours.

COCO val2017, AP at IoU .50:.95, one model and one scale, at 640 px (YOLOX-Nano and Tiny: 416).
Sources: YOLO-NAS, the model zoo of super-gradients; YOLOv5, its release 7.0; YOLOv7, table 2 of
arXiv 2207.02696; YOLOv8, its documentation; YOLOX, its repository. Recipes and extra data differ,
so these figures do not rank architectures.
"""

from __future__ import annotations

from detkit.spec.arch import ArchSpec
from detkit.spec.space import same_network
from detkit.spec.zoo import ZOO

PUBLISHED_AP: dict[str, float] = {
    "yolo-nas-s": 0.475,
    "yolo-nas-m": 0.5155,
    "yolo-nas-l": 0.5222,
    "yolov5-s": 0.374,
    "yolov5-m": 0.454,
    "yolov5-l": 0.490,
    "yolov7": 0.512,
    "yolov7-x": 0.529,
    "yolov8-n": 0.373,
    "yolov8-s": 0.449,
    "yolov8-m": 0.502,
    "yolov8-l": 0.529,
    "yolox-nano": 0.258,
    "yolox-tiny": 0.328,
    "yolox-s": 0.405,
    "yolox-m": 0.469,
    "yolox-l": 0.497,
    "yolox-x": 0.511,
}


def published_ap(spec: ArchSpec) -> float | None:
    """AP published of the named network that `spec` is, at any classes and size; else None."""
    known = (ap for name, ap in PUBLISHED_AP.items() if same_network(ZOO[name], spec))
    return next(known, None)
