"""Drawn scenes of many made-up object classes: what detectors learn to look at before real images.

A class is a formula: an outline by radial harmonics, a surface pattern, a palette, parts at fixed
places. An object is its class's formula with its own jitter, size, turn, squeeze and light. Scenes
are sparse, or crowded with small objects; behind them lie leaves of random blobs, whose sizes
follow a power law as in photographs (dead leaves: Lee, Mumford and Huang, IJCV 2001), clouds or
plain surfaces. Formula-driven supervision: Kataoka et al., arXiv 2206.09132.

Legend: masks and alphas are (h, w) float32 0..1, surfaces (h, w, 3) float32 0..255.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from detkit.core.boxes import Array
from detkit.data.image import Pixels
from detkit.data.synthetic.scene import Rng, Scene, noise, stripes

Floats = npt.NDArray[np.float32]

NUM_KINDS = 60
HARMONICS = np.arange(2, 9)
CORNERS = 72  # of an outline
MIN_VISIBLE = 0.35  # of an object's pixels; what shows less gets no box
MIN_SIDE = 5  # pixels of a box
PATTERNS = ("plain", "clouds", "grain", "stripes", "spots", "rings", "halves")
SOLID = 0.5  # an alpha above it counts as the object's pixel


@dataclass(frozen=True, kw_only=True)
class Kind:
    """The formula of one class."""

    amplitudes: Floats  # of each harmonic
    phases: Floats
    squeeze: float  # shorter by longer side
    pattern: str
    cells: int  # bumps of the pattern a side
    palette: Floats  # (3, 3) RGB: ground, pattern, parts
    colour_spread: float  # of an object about its class's palette
    parts: Floats  # (P, 3): x, y, radius in units of the object's radius
    rim: float  # brightness of the outline's edge, 0 for none
    shading: float  # how round it looks


@functools.lru_cache(maxsize=4096)
def make_kind(seed: int) -> Kind:
    """The formula with this number."""
    rng = np.random.default_rng([70, seed])
    spiky = rng.random() < 0.5
    amplitudes = rng.normal(0, 0.22 if spiky else 0.05, len(HARMONICS)) / np.sqrt(HARMONICS)
    parts = int(rng.integers(0, 4))
    places = rng.uniform(-0.5, 0.5, (parts, 2))
    sizes = rng.uniform(0.12, 0.45, (parts, 1))
    return Kind(
        amplitudes=amplitudes.astype(np.float32),
        phases=rng.uniform(0, 2 * math.pi, len(HARMONICS)).astype(np.float32),
        squeeze=float(rng.uniform(0.3, 1.0)),
        pattern=PATTERNS[int(rng.integers(len(PATTERNS)))],
        cells=int(rng.integers(2, 9)),
        palette=rng.uniform(10, 245, (3, 3)).astype(np.float32),
        colour_spread=float(rng.choice([12, 30, 80])),
        parts=np.concatenate([places, sizes], axis=1).astype(np.float32),
        rim=float(rng.choice([0, 0, 0.6, 1.4])),
        shading=float(rng.uniform(0, 0.7)),
    )


def draw_objects(rng: Rng, size: int, num_classes: int = NUM_KINDS) -> Scene:
    """One square scene of `size` pixels a side with objects of the first classes.

    The scene's classes are the numbers of their formulas.
    """
    canvas = _backdrop(rng, size)
    owner = np.full((size, size), -1, np.int64)
    drawn: list[tuple[int, int]] = []  # class (-1 for one that has no label), pixels
    for label, side in _cast(rng, size, num_classes):
        kind = make_kind(label if label >= 0 else num_classes + int(rng.integers(2000)))
        alpha, surface = draw_object(rng, kind, side)
        pixels = _paste(rng, canvas, owner, alpha, surface, len(drawn))
        drawn.append((label, pixels))
    boxes, classes = _visible_boxes(owner, drawn)
    return Scene(_photographed(rng, canvas), boxes, classes)


def _cast(rng: Rng, size: int, num_classes: int) -> list[tuple[int, float]]:
    """Which objects a scene has, and their longer sides in pixels: large ones first."""
    crowded = rng.random() < 0.35
    if crowded:
        few = rng.integers(num_classes, size=int(rng.integers(1, 4)))
        labels = rng.choice(few, int(rng.integers(8, 40))).tolist()
        typical = rng.uniform(0.05, 0.2)
        sides = typical * np.exp(rng.normal(0, 0.25, len(labels)))
    else:
        labels = rng.integers(num_classes, size=int(rng.integers(1, 8))).tolist()
        sides = np.exp(rng.uniform(math.log(0.07), math.log(0.8), len(labels)))
    strangers = int(rng.integers(0, 4))
    labels += [-1] * strangers
    sides = np.concatenate([sides, rng.uniform(0.05, 0.3, strangers)])
    order = np.argsort(-sides) if rng.random() < 0.8 else rng.permutation(len(labels))
    return [(labels[i], float(max(sides[i] * size, 7.0))) for i in order]


# --- one object ----------------------------------------------------------------------------------


def draw_object(rng: Rng, kind: Kind, side: float) -> tuple[Floats, Floats]:
    """An object's alpha (h, w) and surface (h, w, 3), its longer side about `side` pixels."""
    outline = _outline(rng, kind)
    low, high = outline.min(axis=0), outline.max(axis=0)
    scale = side / float((high - low).max())
    width, height = (max(3, math.ceil(extent * scale)) for extent in (high - low).tolist())
    alpha = _filled((outline - low) * scale, height, width)
    x, y = np.meshgrid(
        (np.arange(width) + 0.5) / scale + low[0], (np.arange(height) + 0.5) / scale + low[1]
    )
    spread = rng.normal(0, kind.colour_spread, (1, 3)) + rng.normal(0, 8, (3, 3))
    palette = np.clip(kind.palette + spread, 0, 255).astype(np.float32)
    share = _pattern(rng, kind, x, y)[..., None]
    surface = palette[0] * (1 - share) + palette[1] * share
    for part_x, part_y, radius in kind.parts.tolist():
        inside = (x - part_x) ** 2 + (y - part_y) ** 2 < radius**2
        surface[inside] = palette[2]
    light = rng.uniform(0, 2 * math.pi)
    slope = x * math.cos(light) + y * math.sin(light) - 0.6 * (x**2 + y**2)
    surface = surface * (1 + kind.shading * slope * 0.6)[..., None]
    if kind.rim and min(width, height) > 8:
        worn = Image.fromarray((alpha * 255).astype(np.uint8)).filter(ImageFilter.MinFilter(3))
        edge = alpha - np.asarray(worn, np.float32) / 255
        surface = surface * (1 + (kind.rim - 1) * edge)[..., None]
    return alpha, surface.astype(np.float32)


def _outline(rng: Rng, kind: Kind) -> npt.NDArray[np.float64]:
    """The object's outline (K, 2) about the origin, its radius about one."""
    angles = np.linspace(0, 2 * math.pi, CORNERS, endpoint=False)
    amplitudes = kind.amplitudes * rng.normal(1, 0.25, len(HARMONICS))
    phases = kind.phases + rng.normal(0, 0.15, len(HARMONICS))
    waves = np.cos(HARMONICS * angles[:, None] + phases) * amplitudes
    radius = np.clip(1 + waves.sum(axis=1), 0.15, 2.5)
    points = np.column_stack([np.cos(angles), np.sin(angles)]) * radius[:, None]
    points *= (1, np.clip(kind.squeeze * rng.uniform(0.85, 1.15), 0.25, 1))
    turn = rng.uniform(0, 2 * math.pi)
    rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    turned: npt.NDArray[np.float64] = points @ rotation.T
    return turned


def _filled(points: npt.NDArray[np.float64], height: int, width: int) -> Floats:
    """The alpha (height, width) of a polygon, its edge soft."""
    finer = Image.new("L", (4 * width, 4 * height))
    ImageDraw.Draw(finer).polygon(list(map(tuple, (4 * points).tolist())), fill=255)
    alpha: Floats = np.asarray(finer.reduce(4), np.float32) / np.float32(255)
    return alpha


def _pattern(
    rng: Rng, kind: Kind, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]
) -> Floats:
    """How much of the second colour each pixel (x, y in units of the radius) has."""
    height, width = x.shape
    if kind.pattern == "clouds":
        return noise(rng, height, width, kind.cells)
    if kind.pattern == "grain":
        return rng.random((height, width), np.float32)
    if kind.pattern == "stripes":
        return stripes(rng, height, width)
    if kind.pattern == "spots":
        return (noise(rng, height, width, kind.cells) > 0.62).astype(np.float32)
    if kind.pattern == "rings":
        return (np.sqrt(x**2 + y**2) * kind.cells % 1 < 0.5).astype(np.float32)
    if kind.pattern == "halves":
        return (x > 0.15).astype(np.float32)
    return np.zeros((height, width), np.float32)


# --- the scene -----------------------------------------------------------------------------------


def _paste(
    rng: Rng,
    canvas: Floats,
    owner: npt.NDArray[np.int64],
    alpha: Floats,
    surface: Floats,
    number: int,
) -> int:
    """Puts an object where it hides little, perhaps over the edge; how many pixels it has."""
    size, (height, width) = len(canvas), alpha.shape
    for _ in range(5):
        x, y = (
            int(rng.integers(-extent // 6, max(size - extent * 5 // 6, 1)))
            for extent in (width, height)
        )
        x1, y1, x2, y2 = max(x, 0), max(y, 0), min(x + width, size), min(y + height, size)
        if (owner[y1:y2, x1:x2] >= 0).mean() < 0.3:
            break
    shown = (slice(y1 - y, y2 - y), slice(x1 - x, x2 - x))
    soft = alpha[shown][..., None] * rng.choice([1.0, 1.0, 0.85])
    region = canvas[y1:y2, x1:x2]
    if rng.random() < 0.3:  # a shadow beside it
        down, right = height // 12 + 1, width // 12 + 1
        region[down:, right:] *= 1 - 0.4 * soft[:-down, :-right]
    region[:] = region * (1 - soft) + surface[shown] * soft
    owner[y1:y2, x1:x2][alpha[shown] > SOLID] = number
    return int((alpha > SOLID).sum())


def _visible_boxes(
    owner: npt.NDArray[np.int64], drawn: list[tuple[int, int]]
) -> tuple[Array, npt.NDArray[np.int64]]:
    """Tight boxes of the labelled objects that can be seen well enough, and their classes."""
    boxes, classes = [], []
    for number, (label, pixels) in enumerate(drawn):
        rows, columns = np.nonzero(owner == number)
        if label < 0 or len(rows) < max(MIN_VISIBLE * pixels, 1):
            continue
        box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        if min(box[2] - box[0], box[3] - box[1]) >= MIN_SIDE:
            boxes.append(box)
            classes.append(label)
    return np.array(boxes, np.float32).reshape(-1, 4), np.array(classes, np.int64)


def _backdrop(rng: Rng, size: int) -> Floats:
    """What lies behind the objects, (size, size, 3)."""
    near, far = (rng.uniform(10, 245, 3).astype(np.float32) for _ in range(2))
    if rng.random() < 0.4:  # plain surfaces are common where things are photographed on purpose
        far = np.clip(near + rng.normal(0, 25, 3), 0, 255).astype(np.float32)
    share = noise(rng, size, size, int(rng.integers(1, 9)))[..., None]
    canvas = near * share + far * (1 - share)
    if rng.random() < 0.45:
        _scatter_leaves(rng, canvas)
    if rng.random() < 0.4:
        fine = noise(rng, size, size, int(rng.integers(20, 70)))[..., None]
        canvas += (fine - 0.5) * rng.uniform(10, 80)
    return canvas.astype(np.float32)


def _scatter_leaves(rng: Rng, canvas: Floats) -> None:
    """Blobs of power-law size in colours of a few, one over another."""
    size = len(canvas)
    picture = Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(picture)
    colours = rng.uniform(0, 255, (int(rng.integers(2, 7)), 3))
    count = int(rng.integers(20, 150))
    radii = size * 0.012 / np.sqrt(rng.uniform(0.002, 1, count))
    straight = rng.random() < 0.4
    for radius in radii.tolist():
        corners = 4 if straight else int(rng.integers(3, 14))
        angles = np.sort(rng.uniform(0, 2 * math.pi, corners))
        reach = radius * rng.uniform(0.5, 1.5, corners)
        points = np.column_stack([np.cos(angles), np.sin(angles)]) * reach[:, None]
        colour = colours[rng.integers(len(colours))] + rng.normal(0, 15, 3)
        fill = tuple(np.clip(colour, 0, 255).astype(int).tolist())
        draw.polygon(list(map(tuple, (points + rng.uniform(0, size, 2)).tolist())), fill=fill)
    canvas[:] = np.asarray(picture, np.float32)


def _photographed(rng: Rng, canvas: Floats) -> Pixels:
    """The scene as a camera sees it: light falling off, blur, grain, a cast of colour."""
    size = len(canvas)
    light = 1 + rng.uniform(0, 0.35) * (noise(rng, size, size, 1)[..., None] - 0.5) * 2
    cast = rng.normal(1, 0.06, 3).astype(np.float32)
    gray = canvas.mean(axis=2, keepdims=True)
    pale = gray + (canvas - gray) * rng.uniform(0.15, 1)  # few photographs are as gaudy as paint
    picture = Image.fromarray(np.clip(pale * light * cast, 0, 255).astype(np.uint8))
    if rng.random() < 0.5:
        picture = picture.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.3, 1.3))))
    levels = np.asarray(picture, np.float32)
    levels = levels + rng.normal(0, rng.uniform(0.5, 9), (size, size, 1)).astype(np.float32)
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)
