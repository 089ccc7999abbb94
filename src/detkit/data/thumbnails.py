"""Pages of small images with their boxes and a caption below each, for a person to look through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from detkit.core.boxes import Array, Indices
from detkit.core.errors import UsageError
from detkit.data.draw import SHEET_GRAY, Font, draw_boxes, printable, text_font
from detkit.data.image import Pixels, fitted_size, resize

COLUMNS, ROWS = 4, 5
WIDE, TALL = 320, 240  # pixels of an image at most
MARGIN, TEXT, LINE = 10, 13, 18  # pixels: around a cell, of letters, from line to line
TITLE_TALL = 2 * LINE
CAPTION_TALL = 2 * LINE + 4
PAPER, INK, FAINT = (250, 250, 250), (20, 20, 20), (110, 110, 110)


@dataclass(frozen=True, kw_only=True)
class Thumbnail:
    """An image (H, W, 3) with boxes (N, 4) in its pixels, the last `num_dashed` of them unsure.

    The caption is two lines; of the first, a file name, the end stays where it is too long.
    """

    image: Pixels
    boxes_xyxy: Array
    classes: Indices
    texts: Sequence[str]
    num_dashed: int
    caption: tuple[str, str]


def thumbnail_page(thumbnails: Sequence[Thumbnail], title: str) -> Pixels:
    """Lays out up to `COLUMNS` x `ROWS` thumbnails in reading order below a title.

    Every page is equally wide, and as tall as its rows need.
    """
    if not 1 <= len(thumbnails) <= COLUMNS * ROWS:
        raise UsageError(f"a page holds 1 to {COLUMNS * ROWS} thumbnails, not {len(thumbnails)}")
    rows = -(-len(thumbnails) // COLUMNS)
    left, top = cell_corner(COLUMNS * rows)
    page = Image.new("RGB", (cell_corner(COLUMNS - 1)[0] + WIDE + MARGIN, top), PAPER)
    draw, font = ImageDraw.Draw(page), text_font(TEXT)
    room = page.width - 2 * MARGIN
    draw.text((left, MARGIN), shortened(title, draw, font, room), fill=INK, font=font)
    for index, item in enumerate(thumbnails):
        x, y = cell_corner(index)
        drawn = Image.fromarray(_drawn(item))
        ground = (SHEET_GRAY,) * 3
        draw.rectangle((x, y, x + WIDE - 1, y + TALL - 1), fill=ground)
        page.paste(drawn, (x + (WIDE - drawn.width) // 2, y + (TALL - drawn.height) // 2))
        name, figures = item.caption
        for line, (text, colour) in enumerate(((name, INK), (figures, FAINT))):
            at = (x, y + TALL + 4 + line * LINE)
            draw.text(at, shortened(text, draw, font, WIDE), fill=colour, font=font)
    return np.array(page)


def cell_corner(index: int) -> tuple[int, int]:
    """Left and top of a cell's image on its page, pixels."""
    row, column = divmod(index, COLUMNS)
    left = MARGIN + column * (WIDE + MARGIN)
    return left, MARGIN + TITLE_TALL + row * (TALL + CAPTION_TALL + MARGIN)


def shortened(text: str, draw: ImageDraw.ImageDraw, font: Font, room: float) -> str:
    """Text that fits into `room` pixels: its beginning gives way to "..."."""
    text = printable(text, limit=len(text))
    if draw.textlength(text, font=font) <= room:
        return text
    low, high = 0, len(text)
    while low < high:  # the longest end that fits
        middle = (low + high + 1) // 2
        fits = draw.textlength("..." + text[len(text) - middle :], font=font) <= room
        low, high = (middle, high) if fits else (low, middle - 1)
    return "..." + text[len(text) - low :]


def _drawn(item: Thumbnail) -> Pixels:
    height, width = item.image.shape[:2]
    small = resize(item.image, fitted_size((height, width), (TALL, WIDE)))
    scale = np.array([small.shape[1] / width, small.shape[0] / height] * 2)
    boxes = (item.boxes_xyxy * scale).astype(np.float32)
    return draw_boxes(small, boxes, item.classes, item.texts, num_dashed=item.num_dashed)
