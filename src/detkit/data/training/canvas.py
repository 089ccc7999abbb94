"""Images side by side on one canvas, and their way onto the training image.

A mosaic is four images around a random point (YOLOv4, arXiv:2004.10934, section 3.3). Where nothing
is turned or sheared each image is resized straight into its place: the canvas, of four times the
pixels, is never made. Places are whole pixels there, of the image and of what shows it, so an image
may lie up to half a pixel from where the matrix has it; its boxes are moved with it, exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from detkit.data.image import Pixels
from detkit.data.training.transforms import (
    CELL,
    COMPLETE,
    MIN_SIDE,
    MIN_VISIBLE,
    LabelSets,
    Matrix,
    Sample,
    cut,
    scaled,
    warp_sample,
)

# Of each tile: does its right edge, does its bottom edge touch the meeting point?
CORNERS = ((True, True), (False, True), (True, False), (False, False))


@dataclass(frozen=True)
class Tile:
    """A sample whose top left corner is at (x, y) of a canvas."""

    sample: Sample
    x: int
    y: int


@dataclass(frozen=True)
class Canvas:
    """Tiles on a ground of (height, width) pixels, which cuts off what sticks out."""

    size: tuple[int, int]
    tiles: Sequence[Tile]


def alone(sample: Sample) -> Canvas:
    """A canvas that one sample fills."""
    height, width = sample.image_hwc.shape[:2]
    return Canvas((height, width), [Tile(sample, 0, 0)])


def mosaic(samples: Sequence[Sample], centre: tuple[int, int], size: tuple[int, int]) -> Canvas:
    """Four samples that meet at `centre` (x, y) of a canvas of twice `size` (height, width)."""
    tiles = []
    for sample, (left_of, above) in zip(samples, CORNERS, strict=True):
        tall, wide = sample.image_hwc.shape[:2]
        x = centre[0] - wide if left_of else centre[0]
        y = centre[1] - tall if above else centre[1]
        tiles.append(Tile(sample, x, y))
    return Canvas((2 * size[0], 2 * size[1]), tiles)


def draw(canvas: Canvas, matrix: Matrix, size: tuple[int, int], pad_value: int) -> Sample:
    """The canvas under `matrix`, as an image of `size` (height, width) with its labels."""
    if matrix[0, 1] or matrix[1, 0]:
        return warp_sample(paint(canvas, pad_value), matrix, size, pad_value)
    image = np.full((*size, 3), pad_value, np.uint8)
    sets = _complete(canvas, (size[0] // CELL, size[1] // CELL))
    (zoom_x, _, shift_x), (_, zoom_y, shift_y) = matrix.tolist()
    shown, maps = [], []
    for tile in canvas.tiles:
        tall, wide = tile.sample.image_hwc.shape[:2]
        x = span_of((tile.x, wide), (zoom_x, shift_x), ground=canvas.size[1], limit=size[1])
        y = span_of((tile.y, tall), (zoom_y, shift_y), ground=canvas.size[0], limit=size[0])
        if x is None or y is None:
            continue
        image[y.place, x.place] = scaled(
            tile.sample.image_hwc[y.source, x.source],
            (y.place.stop - y.place.start, x.place.stop - x.place.start),
            mirrored=(zoom_y < 0, zoom_x < 0),
        )
        if sets is not None and tile.sample.sets is not None:
            sets[:, y.cells, x.cells] = tile.sample.sets[:, :1, :1]
        shown.append(tile.sample)
        maps.append(
            [(x.zoom, y.zoom), (x.shift, y.shift)]
            + [(x.place.start, y.place.start), (x.place.stop, y.place.stop)]
        )
    joined = _joined(image, shown, sets)
    counts = [len(sample.classes) for sample in shown]
    columns = np.array(maps, np.float64).reshape(-1, 4, 2).repeat(counts, axis=0)
    zoom, shift, low, high = np.tile(columns, 2).swapaxes(0, 1)
    ends = joined.boxes_xyxy * zoom + shift
    moved = np.concatenate(
        [np.minimum(ends[:, :2], ends[:, 2:]), np.maximum(ends[:, :2], ends[:, 2:])], axis=1
    )
    return cut(joined, moved, low=low, high=high, least_side=MIN_SIDE, least_shown=MIN_VISIBLE)


def paint(canvas: Canvas, pad_value: int) -> Sample:
    """The canvas itself, as a sample of its size."""
    image = np.full((*canvas.size, 3), pad_value, np.uint8)
    sets = _complete(canvas, canvas.size)
    painted = []
    for tile in canvas.tiles:
        x, y, sample = tile.x, tile.y, tile.sample
        tall, wide = sample.image_hwc.shape[:2]
        x1, y1 = max(x, 0), max(y, 0)
        x2, y2 = min(x + wide, canvas.size[1]), min(y + tall, canvas.size[0])
        image[y1:y2, x1:x2] = sample.image_hwc[y1 - y : y2 - y, x1 - x : x2 - x]
        if sets is not None and sample.sets is not None:
            sets[:, y1:y2, x1:x2] = sample.sets[:, y1 - y : y2 - y, x1 - x : x2 - x]
        moved = sample.boxes_xyxy + np.array([x, y, x, y], np.float32)
        low, high = np.array([x1, y1] * 2, np.float64), np.array([x2, y2] * 2, np.float64)
        painted.append(cut(sample, moved, low=low, high=high))
    return _joined(image, painted, sets)


def _complete(canvas: Canvas, size: tuple[int, int]) -> LabelSets | None:
    """A map of `size` that every class is labelled on; None where no tile has one."""
    if all(tile.sample.sets is None for tile in canvas.tiles):
        return None
    return np.full((1, *size), COMPLETE, np.int16)


def _joined(image: Pixels, samples: Sequence[Sample], sets: LabelSets | None) -> Sample:
    """The boxes of all samples on one image."""
    return Sample(
        image,
        np.concatenate([np.zeros((0, 4), np.float32), *(s.boxes_xyxy for s in samples)]),
        np.concatenate([np.zeros(0, np.int64), *(s.classes for s in samples)]),
        np.concatenate([np.zeros(0, np.float32), *(s.shown for s in samples)]),
        np.concatenate([np.zeros(0, np.float32), *(s.scores for s in samples)]),
        sets,
    )


@dataclass(frozen=True)
class Span:
    """One side of a tile: its pixels `source` fill the pixels `place` of the output.

    A coordinate of the tile becomes `zoom * x + shift`; `zoom` is negative where it is mirrored.
    """

    source: slice
    place: slice
    zoom: float
    shift: float

    @property
    def cells(self) -> slice:
        """The cells of the output whose middle lies in its place."""
        half = CELL // 2
        return slice(-((half - self.place.start) // CELL), -((half - self.place.stop) // CELL))


def span_of(
    tile: tuple[int, int], map_x: tuple[float, float], *, ground: int, limit: int
) -> Span | None:
    """Where one side of a tile goes on one side of the output; None where it is out of sight.

    Args:
        tile: its first pixel on the canvas, and their number.
        map_x: the zoom and the shift from the canvas to the output.
        ground: pixels of the canvas.
        limit: pixels of the output.
    """
    (start, count), (zoom, shift) = tile, map_x
    first, last = max(start, 0), min(start + count, ground)
    low, high = sorted((zoom * first + shift, zoom * last + shift))
    low, high = max(round(low), 0), min(round(high), limit)
    near, far = sorted(((low - shift) / zoom - start, (high - shift) / zoom - start))
    near, far = max(round(near), 0), min(round(far), count)
    if low >= high or near >= far:
        return None
    scale = (high - low) / (far - near)
    if zoom < 0:
        return Span(slice(near, far), slice(low, high), -scale, high + near * scale)
    return Span(slice(near, far), slice(low, high), scale, low - near * scale)
