"""The steps of training augmentation: one affine warp, one colour matrix, exact boxes.

Matrices are (2, 3) float64 and map source pixels to output pixels: `x' = m[:, :2] @ x + m[:, 2]`.
An image is sampled once for all of zoom, shift, rotation, shear and flips, because that is the
dearest step.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch.nn import functional as F

from detkit.config import AugmentConfig
from detkit.core.boxes import Array, area_xyxy
from detkit.data.image import Pixels

Matrix = npt.NDArray[np.float64]
Classes = npt.NDArray[np.int64]
LabelSets = npt.NDArray[np.int16]
Mask = npt.NDArray[np.bool_]

CELL = 8  # pixels a side of the training image that share one label set
COMPLETE = 0  # the label set that speaks of every class, and that of padding
MIN_SIDE = 2.0  # pixels; a smaller target is dropped
MIN_VISIBLE = 0.1  # share of a box's area; a target that shows less is dropped
LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


@dataclass(frozen=True)
class Sample:
    """One training image: uint8 (H, W, 3), boxes (N, 4) xyxy in its pixels, classes (N,).

    `shown` (N,) is the share of each box's area that earlier cuts have left, `scores` (N,) how
    certain its label is. `sets` (L, h, w) is the label set of each place, of a resolution of its
    own (see `labels`); None where every class is labelled everywhere.
    """

    image_hwc: Pixels
    boxes_xyxy: Array
    classes: Classes
    shown: Array
    scores: Array
    sets: LabelSets | None = None


# --- geometry ------------------------------------------------------------------------------------


def random_affine(
    rng: np.random.Generator,
    config: AugmentConfig,
    *,
    source: tuple[int, int],
    size: tuple[int, int],
) -> Matrix:
    """Centre of `source` to centre of `size` (both (height, width)), then zoom, turn, shift."""
    zoom = rng.uniform(1 - config.scale, 1 + config.scale)
    angle, shear_x, shear_y = np.deg2rad(
        rng.uniform(-1, 1, 3) * (config.degrees, config.shear, config.shear)
    )
    shift = rng.uniform(-config.translate, config.translate, 2) * (size[1], size[0])
    mirror = np.where(rng.random(2) < (config.flip, config.flip_vertical), -1.0, 1.0)
    rotation = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    shearing = np.array([[1, math.tan(shear_x)], [math.tan(shear_y), 1]])
    linear = zoom * np.diag(mirror) @ rotation @ shearing
    source_centre = np.array([source[1], source[0]]) / 2
    centre = np.array([size[1], size[0]]) / 2
    return np.column_stack([linear, centre + shift - linear @ source_centre])


def scaled(image_hwc: Pixels, size: tuple[int, int], *, mirrored: tuple[bool, bool]) -> Pixels:
    """The image resized to (height, width), antialiased bilinear; `mirrored` along y, along x."""
    planes = torch.from_numpy(image_hwc)[None].permute(0, 3, 1, 2)  # channels_last: twice as fast
    resized = F.interpolate(planes, size=size, mode="bilinear", antialias=True)
    if axes := [axis for axis, is_mirrored in zip((2, 3), mirrored, strict=True) if is_mirrored]:
        resized = resized.flip(axes)
    pixels: Pixels = resized[0].permute(1, 2, 0).numpy()
    return pixels


def warp(image_hwc: Pixels, matrix: Matrix, size: tuple[int, int], pad_value: int) -> Pixels:
    """The image under `matrix`, bilinear, as (*size, 3); what lies outside is `pad_value`."""
    linear = np.linalg.inv(matrix[:, :2])
    inverse = np.column_stack([linear, -linear @ matrix[:, 2]])
    image = Image.fromarray(image_hwc).transform(
        (size[1], size[0]),
        Image.Transform.AFFINE,
        tuple(inverse.ravel()),
        Image.Resampling.BILINEAR,
        fillcolor=(pad_value,) * 3,
    )
    return np.asarray(image)


def warp_boxes(boxes_xyxy: Array, matrix: Matrix) -> Array:
    """The upright envelopes (N, 4) of the boxes' corners under `matrix`."""
    corners_n42 = boxes_xyxy[:, [[0, 1], [2, 1], [2, 3], [0, 3]]].astype(np.float64)
    moved = corners_n42 @ matrix[:, :2].T + matrix[:, 2]
    return np.concatenate([moved.min(axis=1), moved.max(axis=1)], axis=1).astype(np.float32)


def warp_sample(sample: Sample, matrix: Matrix, size: tuple[int, int], pad_value: int) -> Sample:
    """Image and boxes under `matrix`; boxes too small or too hidden are dropped."""
    kept = cut(
        sample,
        warp_boxes(sample.boxes_xyxy, matrix),
        low=np.zeros(4),
        high=np.array([size[1], size[0]] * 2),
        least_side=MIN_SIDE,
        least_shown=MIN_VISIBLE,
    )
    image = warp(sample.image_hwc, matrix, size, pad_value)
    sets = None if sample.sets is None else warp_sets(sample.sets, matrix, size)
    return dataclasses.replace(kept, image_hwc=image, sets=sets)


def cut(
    sample: Sample,
    moved_xyxy: Array,
    *,
    low: npt.NDArray[np.float64],
    high: npt.NDArray[np.float64],
    least_side: float = 0,
    least_shown: float = 0,
) -> Sample:
    """The sample with its boxes moved and cut, those seen at all.

    Args:
        low: the left, top, left, top of what shows them, (4,) for all or (N, 4).
        high: the same of its right and bottom.
        least_side: pixels a side of a box that is kept.
        least_shown: share of the area of a box that is kept, cuts of before included.
    """
    boxes = np.clip(moved_xyxy, low, high, dtype=np.float32)
    shown = sample.shown * area_xyxy(boxes) / np.maximum(area_xyxy(moved_xyxy), 1e-9)
    sides = boxes[:, 2:] - boxes[:, :2]
    keep = (sides >= least_side).all(axis=1) & (shown >= least_shown) & (shown > 0)
    return dataclasses.replace(
        sample,
        boxes_xyxy=boxes[keep],
        classes=sample.classes[keep],
        shown=shown[keep].astype(np.float32),
        scores=sample.scores[keep],
    )


def warp_sets(sets_lhw: LabelSets, matrix: Matrix, size: tuple[int, int]) -> LabelSets:
    """The label set at the middle of each cell of the output; `COMPLETE` outside the source."""
    y, x = (np.arange(CELL // 2, side, CELL, dtype=np.float64) + 0.5 for side in size)
    cells = np.stack(np.meshgrid(x, y), axis=-1) - matrix[:, 2]
    source = np.floor(cells @ np.linalg.inv(matrix[:, :2]).T).astype(np.int64)
    column, row = source[..., 0], source[..., 1]
    height, width = sets_lhw.shape[1:]
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    found = sets_lhw[:, row.clip(0, height - 1), column.clip(0, width - 1)]
    return np.where(inside, found, np.int16(COMPLETE))


# --- colour --------------------------------------------------------------------------------------


def random_colour(rng: np.random.Generator, config: AugmentConfig) -> Matrix:
    """(3, 3) on RGB columns: turn the hue, scale the saturation, then the brightness."""
    hue, saturation, brightness = rng.uniform(-1, 1, 3) * (
        2 * math.pi * config.hue,
        config.saturation,
        config.brightness,
    )
    gray = np.outer(np.ones(3), LUMA)
    saturating = gray + (1 + saturation) * (np.eye(3) - gray)
    matrix: Matrix = (1 + brightness) * saturating @ hue_rotation(hue)
    return matrix


def hue_rotation(angle: float) -> Matrix:
    """(3, 3) rotation of RGB by `angle` radians about the gray axis (Rodrigues' formula)."""
    axis = np.full(3, 1 / math.sqrt(3))
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    outer = np.outer(axis, axis)
    rotation: Matrix = outer + math.cos(angle) * (np.eye(3) - outer) + math.sin(angle) * cross
    return rotation


def blend(a: Sample, b: Sample, share: float) -> Sample:
    """Mixup: `share` of `a` and the rest of `b`, with the boxes of both (arXiv:1710.09412)."""
    image = Image.blend(Image.fromarray(b.image_hwc), Image.fromarray(a.image_hwc), share)
    return Sample(
        np.asarray(image),
        np.concatenate([a.boxes_xyxy, b.boxes_xyxy]),
        np.concatenate([a.classes, b.classes]),
        np.concatenate([a.shown, b.shown]),
        np.concatenate([a.scores, b.scores]),
        None if a.sets is None or b.sets is None else np.concatenate([a.sets, b.sets]),
    )
