"""Detections drawn onto images, and images laid out on sheets. Text from outside is cleaned."""

from __future__ import annotations

import colorsys
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from detkit.artifact.writing import write_bytes
from detkit.core.boxes import Array, Detections, Indices
from detkit.core.errors import UsageError
from detkit.data.image import Pixels, fitted_size, resize

GOLDEN_TURN = 0.618033988749895  # consecutive hues this share of the circle apart stay distinct
IMAGE_FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
MAX_LABEL = 60  # characters
QUALITY = 92  # of a JPEG
GAP = 4  # pixels between the images of a sheet
SHEET_GRAY = 40

DASH = 4.0  # pixels of a dashed line, and of its gaps

Colour = tuple[int, int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def draw_detections(
    image_hwc: Pixels, detections: Detections, class_names: Sequence[str]
) -> Pixels:
    """A copy of the image with each box and `name 0.87`; the best detections end up on top."""
    rows = zip(detections.classes.tolist(), detections.scores.tolist(), strict=True)
    texts = [f"{printable(class_names[label])} {score:.2f}" for label, score in rows]
    return draw_boxes(image_hwc, detections.boxes_xyxy, detections.classes, texts)


def draw_boxes(
    image_hwc: Pixels,
    boxes_xyxy: Array,
    classes: Indices,
    texts: Sequence[str],
    *,
    num_dashed: int = 0,
) -> Pixels:
    """Draws boxes (N, 4) with their texts, if any, on a copy of the image, the first ones on top.

    The last `num_dashed` have dashed lines.
    """
    canvas = Image.fromarray(image_hwc)
    draw = ImageDraw.Draw(canvas)
    shorter = min(image_hwc.shape[:2])
    width = max(1, round(shorter / 240))
    font = text_font(max(10, round(shorter / 28)))
    for i in reversed(range(len(classes))):
        colour = class_colour(int(classes[i]))
        x1, y1, x2, y2 = boxes_xyxy[i].tolist()
        corners = (x1, y1, max(x1, x2), max(y1, y2))
        if i < len(classes) - num_dashed:
            draw.rectangle(corners, outline=colour, width=width)
        else:
            _draw_dashed(draw, corners, colour, width)
        if texts[i]:
            _draw_label(draw, texts[i], (x1, y1), colour, font, canvas.size)
    return np.array(canvas)


def _draw_dashed(
    draw: ImageDraw.ImageDraw, corners: tuple[float, ...], colour: Colour, width: int
) -> None:
    x1, y1, x2, y2 = corners
    for start in np.arange(x1, x2, 2 * DASH):
        for y in (y1, y2):
            draw.line((start, y, min(start + DASH, x2), y), fill=colour, width=width)
    for start in np.arange(y1, y2, 2 * DASH):
        for x in (x1, x2):
            draw.line((x, start, x, min(start + DASH, y2)), fill=colour, width=width)


def class_colour(label: int) -> Colour:
    """A bright colour for a class; neighbouring classes get far-apart hues."""
    hue = (label * GOLDEN_TURN + 0.02) % 1
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.85 if label % 2 else 0.7, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


def printable(text: str, *, limit: int = MAX_LABEL) -> str:
    """What the built-in font can show: control characters go, unknown letters become '?'."""
    kept = "".join(letter for letter in text if letter.isprintable())[:limit]
    return kept.encode("latin-1", "replace").decode("latin-1")


def text_font(size: int) -> Font:
    """Pillow's built-in font, of this height in pixels where it can be scaled."""
    try:
        return ImageFont.load_default(size)
    except ImportError:  # Pillow built without FreeType has one bitmap font only
        return ImageFont.load_default()


def _draw_label(
    draw: ImageDraw.ImageDraw,
    text: str,
    at: tuple[float, float],
    colour: Colour,
    font: Font,
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
    write_bytes(path, encoded(image_hwc, kind))


def encoded(image_hwc: Pixels, kind: str) -> bytes:
    """The bytes of a PNG or JPEG file; Pillow itself takes a short write to a file for success."""
    buffer = io.BytesIO()
    options = {"quality": QUALITY} if kind == "JPEG" else {}
    Image.fromarray(image_hwc).save(buffer, kind, **options)
    return buffer.getvalue()
