"""Detections in the network's input -> where they lie in the image."""

from __future__ import annotations

from detkit.core.boxes import Detections, clip_xyxy
from detkit.data.image import Letterbox


def in_image(found: Detections, place: Letterbox) -> Detections:
    """From the network's pixels to the image's, cut to the image.

    Ground truth lies within the image, so cutting leaves every intersection as it is and can
    only shrink the union: no IoU falls. YOLO-NAS itself does not cut.
    """
    boxes = clip_xyxy(place.to_image(found.boxes_xyxy), place.height, place.width)
    return Detections(boxes, found.scores, found.classes)
