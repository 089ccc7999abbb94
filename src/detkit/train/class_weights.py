"""What each class weighs in the class loss where some are rare."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from detkit.data.coco.split_reader import ImageRecord


def class_weights(records: Sequence[ImageRecord], num_classes: int, *, power: float) -> Tensor:
    """Weights (C,) by the inverse number of boxes to a power; 1 on average over the boxes.

    Power 0 weighs all classes alike, 1 gives every class that has boxes the same sum. A class
    without boxes weighs 1, crowds do not count.
    """
    classes = np.concatenate([np.zeros(0, np.int64), *(r.classes[~r.crowd] for r in records)])
    counts = np.bincount(classes, minlength=num_classes).astype(np.float64)
    weights = np.ones(num_classes)
    has_boxes = counts > 0
    if power and has_boxes.any():
        inverse = counts[has_boxes] ** -power
        weights[has_boxes] = inverse * counts.sum() / (counts[has_boxes] * inverse).sum()
    return torch.from_numpy(weights.astype(np.float32))
