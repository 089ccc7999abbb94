"""Detections in the network's input -> where they lie in the picture."""

from __future__ import annotations

from detkit.core.boxes import Detections, clip_xyxy
from detkit.data.image import Letterbox


def in_picture(found: Detections, place: Letterbox) -> Detections:
    """From the network's pixels to the picture's, cut to the picture.

    Ground truth lies within the picture, so cutting leaves every intersection as it is and can
    only shrink the union: no IoU falls. YOLO-NAS itself does not cut.
    """
    boxes = clip_xyxy(place.to_picture(found.boxes_xyxy), place.height, place.width)
    return Detections(boxes, found.scores, found.classes)
