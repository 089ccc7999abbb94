from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from PIL import Image, ImageDraw

from detkit.core.errors import UsageError
from detkit.data.draw import SHEET_GRAY, class_colour, text_font
from detkit.data.thumbnails import (
    COLUMNS,
    MARGIN,
    ROWS,
    TALL,
    TEXT,
    WIDE,
    Thumbnail,
    cell_corner,
    shortened,
    thumbnail_page,
)


def thumbnail(
    height: int = 240, width: int = 320, *, level: int = 200, num_dashed: int = 0, name: str = "a"
) -> Thumbnail:
    """One box from a quarter to three quarters of the image, without a text."""
    corners = (width / 4, height / 4, 3 * width / 4, 3 * height / 4)
    return Thumbnail(
        image=np.full((height, width, 3), level, np.uint8),
        boxes_xyxy=np.array([corners], np.float32),
        classes=np.array([0]),
        texts=[""],
        num_dashed=num_dashed,
        caption=(name, "doubt 1.00"),
    )


def test_cells_are_apart_and_within_the_page() -> None:
    page = thumbnail_page([thumbnail()] * COLUMNS * ROWS, "title")
    corners = [cell_corner(index) for index in range(COLUMNS * ROWS)]
    assert len(set(corners)) == len(corners)
    for left, top in corners:
        assert left >= MARGIN
        assert left + WIDE <= page.shape[1] - MARGIN
        assert top + TALL < page.shape[0]
    (x0, y0), (x1, _), (_, y1) = corners[0], corners[1], corners[COLUMNS]
    assert x1 - x0 >= WIDE
    assert y1 - y0 > TALL


def test_each_image_lies_in_its_cell_in_reading_order() -> None:
    levels = [10 * (i + 1) for i in range(6)]
    page = thumbnail_page([thumbnail(level=level) for level in levels], "title")
    for index, level in enumerate(levels):
        left, top = cell_corner(index)
        assert page[top + 5, left + 5].tolist() == [level] * 3


@pytest.mark.parametrize(("height", "width"), [(24, 32), (240, 320), (2400, 3200), (900, 100)])
def test_images_of_any_size_are_fitted_with_their_boxes(height: int, width: int) -> None:
    page = thumbnail_page([thumbnail(height, width)], "title")
    left, top = cell_corner(0)
    cell = page[top : top + TALL, left : left + WIDE]
    fitted = WIDE if height * 4 == width * 3 else round(TALL * width / height)
    start = (WIDE - fitted) // 2
    rows, columns = np.nonzero((cell == class_colour(0)).all(axis=2))
    assert columns.min() == pytest.approx(start + fitted / 4, abs=2)
    assert columns.max() == pytest.approx(start + 3 * fitted / 4, abs=2)
    assert (rows.min(), rows.max()) == (pytest.approx(TALL / 4, abs=2), pytest.approx(180, abs=2))
    if start:
        assert cell[0, 0].tolist() == [SHEET_GRAY] * 3


def test_unsure_boxes_are_dashed() -> None:
    left, top = cell_corner(0)

    def coloured(num_dashed: int) -> int:
        page = thumbnail_page([thumbnail(num_dashed=num_dashed)], "title")
        row = page[top + TALL // 4, left : left + WIDE]
        return int((row == class_colour(0)).all(axis=1).sum())

    assert coloured(0) == pytest.approx(WIDE / 2, abs=2)
    assert WIDE / 5 < coloured(1) < WIDE / 2.5


def test_captions_stay_below_their_cell_however_long_they_are() -> None:
    long_name = dataclasses.replace(thumbnail(), caption=("x/" * 400 + "end.jpg", "y" * 400))
    page = thumbnail_page([long_name, thumbnail()], "t" * 1000)
    left, top = cell_corner(0)
    gap = page[:, left + WIDE : left + WIDE + MARGIN]
    assert (gap[top - 2 :] > 240).all()  # paper: nothing runs over into the next cell
    assert page[top + TALL + 4 : top + TALL + 40, left : left + WIDE].min() < 100


def test_a_name_keeps_its_end() -> None:
    draw, font = ImageDraw.Draw(Image.new("RGB", (9, 9))), text_font(TEXT)
    text = shortened("folder/" * 30 + "end.jpg", draw, font, 120)
    assert text.startswith("...")
    assert text.endswith("end.jpg")
    assert draw.textlength(text, font=font) <= 120
    assert shortened("a.jpg", draw, font, 120) == "a.jpg"
    assert shortened("a\x1b[31m\n.jpg", draw, font, 120) == "a[31m.jpg"


@pytest.mark.parametrize("count", [0, COLUMNS * ROWS + 1])
def test_a_page_holds_at_least_one_and_at_most_its_cells(count: int) -> None:
    with pytest.raises(UsageError):
        thumbnail_page([thumbnail()] * count, "title")


def test_pages_of_the_same_are_the_same() -> None:
    first = thumbnail_page([thumbnail()] * 5, "title")
    assert np.array_equal(first, thumbnail_page([thumbnail()] * 5, "title"))
