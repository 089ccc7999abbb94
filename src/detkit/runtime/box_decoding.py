"""Boxes as other tools' graphs give them -> corners in input pixels, in numpy for every engine.

Legend: B batch, A anchor points, G cells of all grids.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from detkit.core.boxes import Array
from detkit.spec.onnx_description import CELL_FORMATS, OutputSpec


def to_xyxy(boxes: npt.NDArray[Any], spec: OutputSpec, size: tuple[int, int]) -> Array:
    """Converts boxes, as described, to float32 corners (..., 4) in input pixels.

    Args:
        boxes: (..., 4), or (..., 4 * (reg_max + 1)) of the box format dfl.
        size: (height, width) of the input.
    """
    out: Array = boxes.astype(np.float32, copy=False)
    if spec.box_format in CELL_FORMATS:
        out = _from_cells(out, spec, size)
    if spec.box_format == "yxyx":
        out = out[..., [1, 0, 3, 2]]
    elif spec.box_format in ("xywh", "cxcywh", "grid"):
        start, sides = out[..., :2], out[..., 2:]
        if spec.box_format != "xywh":
            start = start - sides * np.float32(0.5)
        out = np.concatenate([start, start + sides], axis=-1)
    if spec.normalised:
        height, width = size
        out = out * np.array([width, height, width, height], np.float32)
    return out


@functools.lru_cache(maxsize=4)
def _cells(strides: tuple[int, ...], size: tuple[int, int]) -> tuple[Array, Array]:
    """The corner (G, 2) as x, y in pixels of each cell, and its stride (G, 1)."""
    corners, sides = [], []
    for stride in strides:
        y, x = np.mgrid[: -(-size[0] // stride), : -(-size[1] // stride)]
        corners.append(np.stack([x, y], axis=-1).reshape(-1, 2) * stride)
        sides.append(np.full((x.size, 1), stride))
    return np.concatenate(corners).astype(np.float32), np.concatenate(sides).astype(np.float32)


def _from_cells(boxes: Array, spec: OutputSpec, size: tuple[int, int]) -> Array:
    """Boxes (B, G, 4) in pixels of those relative to cells: of a grid cxcywh, else corners."""
    corners_g2, strides_g1 = _cells(spec.strides, size)
    if spec.box_format == "grid":  # YOLOX: arXiv 2107.08430
        centres = boxes[..., :2] * strides_g1 + corners_g2
        with np.errstate(over="ignore"):  # what is not finite is refused with the other outputs
            sides = np.exp(boxes[..., 2:]) * strides_g1
        return np.concatenate([centres, sides], axis=-1)
    points_g2 = corners_g2 + np.float32(spec.cell_point) * strides_g1
    distances = _expected(boxes, spec.reg_max) if spec.box_format == "dfl" else boxes
    if spec.box_format != "ltrb-px":
        distances = distances * strides_g1
    return np.concatenate([points_g2 - distances[..., :2], points_g2 + distances[..., 2:]], axis=-1)


def _expected(logits: Array, reg_max: int) -> Array:
    """The means (..., 4) of distributions over 0..reg_max (GFL: arXiv 2006.04388, equation 5)."""
    sides = logits.reshape(*logits.shape[:-1], 4, reg_max + 1)
    weights = np.exp(sides - sides.max(axis=-1, keepdims=True))
    means: Array = weights @ np.arange(reg_max + 1, dtype=np.float32)
    means /= weights.sum(axis=-1)
    return means
