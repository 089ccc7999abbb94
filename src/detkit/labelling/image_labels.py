"""One image: a model's detections become labels, beside those that people drew.

Legend: N labels, M detections, H boxes that people drew, C classes of the labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from detkit.config import LabelConfig
from detkit.core.boxes import Array, Detections, area_xyxy, iou_matrix, suppress
from detkit.data.coco.split_reader import ImageRecord
from detkit.labelling.classes import LabelClasses

LEAST_SIDE = 1.0  # pixels; a smaller box is no object that anybody could draw
NEAR = 0.5  # share of the least score from which on a detection is a near miss

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class ImageLabels:
    """The model's labels of an image, best first, and its `near_misses`, which are not written.

    `left_to_humans` counts labels of classes that people labelled completely, `matched_humans`
    those of objects that people drew already.
    """

    labels: Detections
    near_misses: Detections
    left_to_humans: int = 0
    matched_humans: int = 0


def label_image(
    found: Detections,
    classes: LabelClasses,
    config: LabelConfig,
    human: ImageRecord | None = None,
) -> ImageLabels:
    """Chooses the labels among detections, whose classes are the model's.

    A detection that reaches the least score of its class is a label, one that reaches half of it a
    near miss, but one for an object, and none where there is a box of any class. Where several
    classes have become one, the boxes of that one are suppressed again, labels before near misses.
    Of what people drew, no second box is written, nor one of a class that they labelled completely.
    """
    least = classes.least[found.classes]
    labels = classes.label_of[found.classes]
    sides = (found.boxes_xyxy[:, 2:] - found.boxes_xyxy[:, :2]).min(axis=1, initial=np.inf)
    eligible = (labels >= 0) & (found.scores > NEAR * least) & (sides >= LEAST_SIDE)
    accepted = eligible & (found.scores >= least)
    first, then = np.flatnonzero(accepted), np.flatnonzero(eligible & ~accepted)
    order = np.concatenate([first, then])
    chosen = Detections(found.boxes_xyxy, found.scores, labels).at(order)
    reaches = np.arange(len(order)) < len(first)
    if classes.are_joined:
        keep = suppress(chosen, config.iou)
        chosen, reaches = chosen.at(keep), reaches[keep]
    left = complete_classes(human, classes, config)[chosen.classes]
    matched = ~left & drawn_by_human(chosen, human, config.match_iou)
    free = ~left & ~matched
    written = chosen.at(np.flatnonzero(reaches & free)[: config.max_boxes])
    return ImageLabels(
        labels=written,
        near_misses=_in_free_places(chosen.at(~reaches & free), written, human, config.match_iou),
        left_to_humans=int((reaches & left).sum()),
        matched_humans=int((reaches & matched).sum()),
    )


def complete_classes(human: ImageRecord | None, classes: LabelClasses, config: LabelConfig) -> Mask:
    """The classes (C,) of whose every object on this image a person drew a box."""
    if human is None or config.human_classes == "fill":
        return np.zeros(len(classes.names), np.bool_)
    return known_to_human(human, classes)


def known_to_human(human: ImageRecord, classes: LabelClasses) -> Mask:
    """The classes (C,) that the labels of people speak of, complete where they do not say less."""
    known = np.zeros(len(classes.names), np.bool_)
    known[: classes.num_human] = True if human.known is None else human.known
    return known


def _in_free_places(
    near: Detections, labels: Detections, human: ImageRecord | None, iou: float
) -> Detections:
    """Keeps, best first, what overlaps by at most this IoU no label, whatever its class."""
    boxes = [labels.boxes_xyxy] if human is None else [labels.boxes_xyxy, human.boxes_xyxy]
    overlap = iou_matrix(near.boxes_xyxy, np.concatenate(boxes)).max(axis=1, initial=0)
    near = near.at(overlap <= iou)
    one_class = Detections(near.boxes_xyxy, near.scores, np.zeros_like(near.classes))
    return near.at(suppress(one_class, iou))


def drawn_by_human(found: Detections, human: ImageRecord | None, match_iou: float) -> Mask:
    """Marks (M,) the detections of what a person drew in the same class.

    Of a crowd region it is the share of the detection inside that counts, as in COCO's metric.
    """
    if human is None or not len(human.classes) or not len(found):
        return np.zeros(len(found), np.bool_)
    overlap = iou_matrix(found.boxes_xyxy, human.boxes_xyxy)
    inside = _share_inside(found.boxes_xyxy, human.boxes_xyxy)
    overlap = np.where(human.crowd, inside, overlap)
    same = found.classes[:, None] == human.classes
    drawn: Mask = ((overlap >= match_iou) & same).any(axis=1)
    return drawn


def _share_inside(boxes_m4: Array, regions_h4: Array) -> Array:
    """The share (M, H) of each box that lies in each region."""
    corner = np.maximum(boxes_m4[:, None, :2], regions_h4[:, :2])
    opposite = np.minimum(boxes_m4[:, None, 2:], regions_h4[:, 2:])
    common = area_xyxy(np.concatenate([corner, opposite], axis=2))
    share: Array = common / np.maximum(area_xyxy(boxes_m4), np.float32(1e-12))[:, None]
    return share
