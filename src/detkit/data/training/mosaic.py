"""Four images around a random point of one canvas (YOLOv4, arXiv:2004.10934, section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from detkit.core.boxes import Array, area_xyxy
from detkit.data.training.transforms import COMPLETE, Sample

# Of each tile: does its right edge, does its bottom edge touch the meeting point?
CORNERS = ((True, True), (False, True), (True, False), (False, False))


def mosaic(
    samples: Sequence[Sample], centre: tuple[int, int], size: tuple[int, int], pad_value: int
) -> Sample:
    """Four samples meeting at `centre` (x, y) of a canvas of twice `size` (height, width).

    Each image touches the meeting point with a corner; what does not fit on the canvas is cut,
    its boxes with it.
    """
    height, width = 2 * size[0], 2 * size[1]
    canvas = np.full((height, width, 3), pad_value, np.uint8)
    sets = None
    if samples[0].sets is not None:
        sets = np.full((1, height, width), COMPLETE, np.int16)
    tiles = []
    for sample, (left_of, above) in zip(samples, CORNERS, strict=True):
        tall, wide = sample.image_hwc.shape[:2]
        x = centre[0] - wide if left_of else centre[0]
        y = centre[1] - tall if above else centre[1]
        x1, y1, x2, y2 = max(x, 0), max(y, 0), min(x + wide, width), min(y + tall, height)
        canvas[y1:y2, x1:x2] = sample.image_hwc[y1 - y : y2 - y, x1 - x : x2 - x]
        if sets is not None and sample.sets is not None:
            sets[:, y1:y2, x1:x2] = sample.sets[:, y1 - y : y2 - y, x1 - x : x2 - x]
        tiles.append(_cut(sample, (x, y), np.array([x1, y1, x2, y2], np.float32)))
    return Sample(
        canvas,
        np.concatenate([tile.boxes_xyxy for tile in tiles]),
        np.concatenate([tile.classes for tile in tiles]),
        np.concatenate([tile.shown for tile in tiles]),
        np.concatenate([tile.scores for tile in tiles]),
        sets,
    )


def _cut(sample: Sample, shift: tuple[int, int], region_xyxy: Array) -> Sample:
    """The boxes moved by `shift`, clipped to the tile's region; those outside it are dropped."""
    moved = sample.boxes_xyxy + np.array(shift * 2, np.float32)
    low, high = np.tile(region_xyxy[:2], 2), np.tile(region_xyxy[2:], 2)
    boxes = np.clip(moved, low, high)
    shown = sample.shown * area_xyxy(boxes) / np.maximum(area_xyxy(moved), 1e-9)
    return sample.replaced(boxes, shown, shown > 0)
