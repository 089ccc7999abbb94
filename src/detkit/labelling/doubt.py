"""How doubtful a model's labels of an image are: how much a person would have to correct.

Least confidence of active learning (Settles, "Active Learning Literature Survey", 2009, section
3.1), summed over the boxes of an image (Brust, Kaeding and Denzler, "Active Learning for Deep
Object Detection", arXiv 1809.09875). If scores are the chances of being right, an image's doubt is
the number of its labels that are expected to be wrong:

- a label of score s is wrong by the chance 1 - s;
- a near miss of score s, where no label is (see `image_labels`), is missing by the chance s;
- of two labels of different classes on the same object one is wrong: at least by the chance of the
  less likely, min(s, t), their margin being small. A box that a person drew counts as certain.

Scores of detectors are no exact chances, so doubts order images; they do not promise a number. With
a very low least score the doubt is about the number of boxes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from detkit.core.boxes import Array, Detections, iou_matrix
from detkit.data.coco.split_reader import ImageRecord
from detkit.labelling.image_labels import ImageLabels

SAME_OBJECT_IOU = 0.7  # of boxes of different classes: the default IoU of NMS


@dataclass(frozen=True, kw_only=True)
class Doubt:
    """The expected number of wrong labels, and how many near misses and conflicts are in it."""

    value: float
    near_misses: int
    conflicts: int


def doubt_of(labels: ImageLabels, human: ImageRecord | None = None) -> Doubt:
    """Estimates how much of an image's labels is wrong.

    >>> none = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, int))
    >>> box = np.array([[0, 0, 9, 9]], np.float32)
    >>> one = Detections(box, np.array([0.75], np.float32), np.array([0]))
    >>> doubt_of(ImageLabels(labels=one, near_misses=none)).value
    0.25
    """
    conflicts = _conflicts(labels.labels, human)
    parts = (1 - labels.labels.scores, labels.near_misses.scores, conflicts)
    value = sum(float(part.sum(dtype=np.float64)) for part in parts)
    return Doubt(
        value=round(value, 4), near_misses=len(labels.near_misses), conflicts=len(conflicts)
    )


def _conflicts(found: Detections, human: ImageRecord | None) -> Array:
    """The lower score of each pair of different classes on the same object."""
    boxes, scores, classes = found.boxes_xyxy, found.scores, found.classes
    if human is not None:
        drawn = ~human.crowd
        boxes = np.concatenate([boxes, human.boxes_xyxy[drawn]])
        classes = np.concatenate([classes, human.classes[drawn]])
        scores = np.concatenate([scores, np.ones(int(drawn.sum()), np.float32)])
    pairs = iou_matrix(found.boxes_xyxy, boxes) >= SAME_OBJECT_IOU
    pairs &= found.classes[:, None] != classes
    pairs &= np.arange(len(found))[:, None] < np.arange(len(boxes))
    rows, columns = np.nonzero(pairs)
    lower: Array = np.minimum(scores[rows], scores[columns])
    return lower
