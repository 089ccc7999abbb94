"""Drawn scenes with known boxes: rotated, overlapping, textured shapes among distractors.

Everything is drawn at twice the size and halved, so that edges are soft as in photographs. A box
is the tight envelope of the part of its shape that can be seen.

Legend: points are (K, 2) x, y; masks are (h, w) booleans.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from detkit.core.boxes import Array
from detkit.data.image import Pixels

Points = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Rng = np.random.Generator

SUPERSAMPLING = 2
MIN_VISIBLE = 0.4  # of a shape's pixels; what shows less gets no box
MIN_SIDE = 4  # pixels of a box
SMALLEST, LARGEST = 0.11, 0.5  # side of a shape as a share of the image's
TYPICAL, COLOUR_SPREAD = 0.7, 35.0  # share of shapes in their class's colour, and how nearly
MIN_CONTRAST = 80.0  # between a shape's colour and what lies beneath it, Euclidean in RGB


@dataclass(frozen=True)
class Scene:
    """An image uint8 (H, W, 3) RGB, its boxes (N, 4) xyxy, classes (N,) as indices into SHAPES."""

    image_hwc: Pixels
    boxes_xyxy: Array
    classes: npt.NDArray[np.int64]


# --- shapes --------------------------------------------------------------------------------------


def _regular(corners: int, inner: float = 1.0) -> Points:
    """A regular polygon in the unit circle; every second corner at radius `inner`."""
    angles = np.array([2 * math.pi * i / corners for i in range(corners)])
    radii = np.where(np.arange(corners) % 2, inner, 1.0)
    return np.column_stack([np.cos(angles), np.sin(angles)]) * radii[:, None]


def _cross(arm: float) -> Points:
    quarter = np.array([[arm, 1], [-arm, 1], [-arm, arm]])
    turn = np.array([[0, 1], [-1, 0]])
    quarters = [quarter @ np.linalg.matrix_power(turn, k) for k in range(4)]
    return np.concatenate(quarters)


SHAPES: dict[str, tuple[Points, ...]] = {  # outline, then holes
    "disc": (_regular(48),),
    "ring": (_regular(48), 0.55 * _regular(48)),
    "triangle": (_regular(3),),
    "square": (_regular(4),),
    "star": (_regular(10, 0.42),),
    "cross": (_cross(0.36),),
}

TYPICAL_COLOURS = np.array(
    [(220, 60, 50), (60, 90, 220), (60, 190, 80), (225, 200, 60), (180, 70, 200), (70, 200, 210)],
    np.float64,
)  # in the order of SHAPES


def _shape_mask(rng: Rng, name: str, side: float) -> Mask:
    """The shape with its longer side `side`, turned and a little squeezed, in a tight frame."""
    angle, squeeze = rng.uniform(0, 2 * math.pi), rng.uniform(0.8, 1.0)
    rotation = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    outlines = [points * (1, squeeze) @ rotation.T for points in SHAPES[name]]
    low, high = outlines[0].min(axis=0), outlines[0].max(axis=0)
    scale = side / (high - low).max()
    width, height = np.ceil((high - low) * scale).astype(int) + 1
    canvas = Image.new("1", (int(width), int(height)))
    for points, ink in zip(outlines, (1, 0), strict=False):
        placed = (points - low) * scale
        ImageDraw.Draw(canvas).polygon(list(map(tuple, placed.tolist())), fill=ink)
    return np.array(canvas)


# --- surfaces ------------------------------------------------------------------------------------


def _colour(rng: Rng) -> Points:
    return rng.uniform(20, 235, 3)


def _contrasting(rng: Rng, label: int, beneath: Points) -> Points:
    """A colour that differs from `beneath`: often about the class's own, else any."""
    while True:
        own = TYPICAL_COLOURS[label] + rng.normal(0, COLOUR_SPREAD, 3)
        colour = np.clip(own, 20, 235) if rng.random() < TYPICAL else _colour(rng)
        if np.linalg.norm(colour - beneath) >= MIN_CONTRAST:
            return colour


def noise(rng: Rng, height: int, width: int, cells: int) -> npt.NDArray[np.float32]:
    """Smooth noise (height, width), 0..1, with about `cells` bumps a side."""
    grid = rng.integers(0, 256, (cells + 1, cells + 1), np.uint8)
    smooth = Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC)
    return (np.asarray(smooth) / 255).astype(np.float32)


def stripes(rng: Rng, height: int, width: int) -> npt.NDArray[np.float32]:
    """Parallel bands (height, width) of 0 and 1."""
    angle, period = rng.uniform(0, math.pi), rng.uniform(8, 20)
    y, x = np.ogrid[:height, :width]
    along = x * math.cos(angle) + y * math.sin(angle)
    return (along % period < period / 2).astype(np.float32)


def _surface(rng: Rng, height: int, width: int, colour: Points) -> npt.NDArray[np.float32]:
    """(height, width, 3) of one colour: plain, clouded, striped or grained."""
    patterns: tuple[Callable[[], npt.NDArray[np.float32]], ...] = (
        lambda: np.zeros((height, width), np.float32),
        lambda: noise(rng, height, width, 3) - 0.5,
        lambda: stripes(rng, height, width) - 0.5,
        lambda: rng.random((height, width), np.float32) - np.float32(0.5),
    )
    pattern = patterns[rng.integers(len(patterns))]()
    return (pattern[:, :, None] * 50 + colour).astype(np.float32)


def _background(rng: Rng, side: int) -> npt.NDArray[np.float32]:
    """(side, side, 3): two colours mixed by smooth noise, with fine grain."""
    near, far = _colour(rng).astype(np.float32), _colour(rng).astype(np.float32)
    clouds = noise(rng, side, side, int(rng.integers(2, 9)))[:, :, None]
    grain = rng.normal(0, rng.uniform(2, 14), (side // 2, side // 2)).astype(np.float32)
    mixed: npt.NDArray[np.float32] = clouds * near + (1 - clouds) * far
    return mixed + grain.repeat(2, 0).repeat(2, 1)[:, :, None]


def _add_distractors(rng: Rng, canvas: npt.NDArray[np.float32]) -> None:
    """Lines and lumps that belong to no class, drawn onto `canvas`."""
    side = len(canvas)
    layer = Image.new("L", (side, side))
    for _ in range(rng.integers(2, 7)):
        layer.paste(0, (0, 0, side, side))
        draw = ImageDraw.Draw(layer)
        if rng.random() < 0.6:
            ends = rng.uniform(0, side, 4).tolist()
            draw.line(ends, fill=255, width=int(rng.integers(2, max(3, side // 40))))
        else:
            lump = _regular(11) * rng.uniform(0.35, 1.0, (11, 1)) * rng.uniform(0.03, 0.12) * side
            placed = lump + rng.uniform(0, side, 2)
            draw.polygon(list(map(tuple, placed.tolist())), fill=255)
        canvas[np.asarray(layer) > 0] = _colour(rng)


# --- scenes --------------------------------------------------------------------------------------


def draw_scene(rng: Rng, size: int, num_classes: int = len(SHAPES)) -> Scene:
    """One square scene of `size` pixels a side with up to seven shapes of the first classes."""
    side = size * SUPERSAMPLING
    canvas = _background(rng, side)
    _add_distractors(rng, canvas)
    owner = np.full((side, side), -1, np.int64)  # which shape is on top of each pixel
    drawn: list[tuple[int, int]] = []  # class, pixels
    for number in range(int(rng.integers(0, 8))):
        label = int(rng.integers(num_classes))
        mask = _shape_mask(rng, list(SHAPES)[label], _random_side(rng, side))
        x, y = _free_position(rng, owner, mask)
        height, width = mask.shape
        region = (slice(y, y + height), slice(x, x + width))
        colour = _contrasting(rng, label, canvas[region][mask].mean(axis=0))
        canvas[region][mask] = _surface(rng, height, width, colour)[mask]
        owner[region][mask] = number
        drawn.append((label, int(mask.sum())))
    image = Image.fromarray(np.clip(np.rint(canvas), 0, 255).astype(np.uint8))
    boxes, classes = visible_boxes(owner, drawn)
    return Scene(np.array(image.reduce(SUPERSAMPLING)), boxes, classes)


def _random_side(rng: Rng, side: int) -> float:
    return side * math.exp(rng.uniform(math.log(SMALLEST), math.log(LARGEST)))


def _free_position(rng: Rng, owner: npt.NDArray[np.int64], mask: Mask) -> tuple[int, int]:
    """A position x, y where the mask hides little; after a few tries, any one."""
    height, width = mask.shape
    for _ in range(6):
        x = int(rng.integers(owner.shape[1] - width + 1))
        y = int(rng.integers(owner.shape[0] - height + 1))
        taken = owner[y : y + height, x : x + width] >= 0
        if taken.mean() < 0.25:
            break
    return x, y


def visible_boxes(
    owner: npt.NDArray[np.int64], drawn: list[tuple[int, int]]
) -> tuple[Array, npt.NDArray[np.int64]]:
    """Tight boxes in final pixels of the shapes that can be seen well enough, and their classes.

    `owner` (H, W), supersampled, says which of `drawn` (class, pixels) is on top of each pixel.
    """
    boxes, classes = [], []
    for number, (label, pixels) in enumerate(drawn):
        rows, columns = np.nonzero(owner == number)
        if len(rows) < MIN_VISIBLE * pixels:
            continue
        corners = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        box = np.array(corners, np.float32) / SUPERSAMPLING
        if (box[2:] - box[:2]).min() >= MIN_SIDE:
            boxes.append(box)
            classes.append(label)
    return np.array(boxes, np.float32).reshape(-1, 4), np.array(classes, np.int64)
