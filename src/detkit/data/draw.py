"""Detections drawn onto images, and images laid out on sheets. Text from outside is cleaned."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from detkit.artifact.artifact import atomic_path
from detkit.core.boxes import Detections
from detkit.core.errors import UsageError
from detkit.data.image import Pixels, fitted_size, resize

GOLDEN_TURN = 0.618033988749895  # consecutive hues this share of the circle apart stay distinct
IMAGE_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
MAX_LABEL = 60  # characters
GAP = 4  # pixels between the images of a sheet
SHEET_GRAY = 40

Colour = tuple[int, int, int]


def draw_detections(
    image_hwc: Pixels, detections: Detections, class_names: Sequence[str]
) -> Pixels:
    """A copy of the image with each box and `name 0.87`; the best detections end up on top."""
    canvas = Image.fromarray(image_hwc)
    draw = ImageDraw.Draw(canvas)
    shorter = min(image_hwc.shape[:2])
    width = max(1, round(shorter / 240))
    font = _font(max(10, round(shorter / 28)))
    for i in reversed(range(len(detections))):
        label = int(detections.classes[i])
        colour = class_colour(label)
        x1, y1, x2, y2 = detections.boxes_xyxy[i].tolist()
        corners = (x1, y1, max(x1, x2), max(y1, y2))
        draw.rectangle(corners, outline=colour, width=width)
        text = f"{printable(class_names[label])} {detections.scores[i]:.2f}"
        _draw_label(draw, text, (x1, y1), colour, font, canvas.size)
    return np.array(canvas)


def class_colour(label: int) -> Colour:
    """A bright colour for a class; neighbouring classes get far-apart hues."""
    hue = (label * GOLDEN_TURN + 0.02) % 1
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85 if label % 2 else 0.7, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


def printable(text: str) -> str:
    """What the built-in font can show: control characters go, unknown letters become '?'."""
    kept = "".join(letter for letter in text if letter.isprintable())[:MAX_LABEL]
    return kept.encode("latin-1", "replace").decode("latin-1")


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    try:
        return ImageFont.load_default(size)
    except ImportError:  # Pillow built without FreeType has one bitmap font only
        return ImageFont.load_default()


def _draw_label(
    draw: ImageDraw.ImageDraw,
    text: str,
    at: tuple[float, float],
    colour: Colour,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    size: tuple[int, int],
) -> None:
    """Text on a filled ground above `at`, or below it where there is no room; kept inside."""
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    wide, tall = right - left + 4, bottom - top + 4
    x = max(0.0, min(at[0], size[0] - wide))
    y = at[1] - tall if at[1] >= tall else min(at[1], size[1] - tall)
    draw.rectangle((x, y, x + wide, y + tall), fill=colour)
    dark = colour[0] * 0.299 + colour[1] * 0.587 + colour[2] * 0.114 > 128
    draw.text((x + 2 - left, y + 2 - top), text, fill=(0, 0, 0) if dark else "white", font=font)


def contact_sheet(images: Sequence[Pixels], columns: int) -> Pixels:
    """The images in rows of `columns`, each fitted into a cell of the largest one's size."""
    if not images or columns < 1:
        raise UsageError("a contact sheet needs at least one image and one column")
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    tall = max(image.shape[0] for image in images)
    wide = max(image.shape[1] for image in images)
    sheet = np.full((rows * (tall + GAP) + GAP, columns * (wide + GAP) + GAP, 3), SHEET_GRAY, "u1")
    for i, image in enumerate(images):
        fitted = resize(image, fitted_size((image.shape[0], image.shape[1]), (tall, wide)))
        y = GAP + (i // columns) * (tall + GAP) + (tall - fitted.shape[0]) // 2
        x = GAP + (i % columns) * (wide + GAP) + (wide - fitted.shape[1]) // 2
        sheet[y : y + fitted.shape[0], x : x + fitted.shape[1]] = fitted
    return sheet


def save_image(path: Path, image_hwc: Pixels) -> None:
    """Writes PNG or JPEG, by the suffix, atomically.

    Raises:
        UsageError: another suffix.
        ArtifactError: the file cannot be written.
    """
    kind = IMAGE_FORMATS.get(path.suffix.lower())
    if kind is None:
        raise UsageError(f"{path}: an image is written as .png or .jpg")
    with atomic_path(path) as partial:
        Image.fromarray(image_hwc).save(
            partial, kind, **({"quality": 92} if kind == "JPEG" else {})
        )
