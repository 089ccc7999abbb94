from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from detkit.core.boxes import Detections
from detkit.core.errors import UsageError
from detkit.data.draw import class_colour, contact_sheet, draw_detections, printable, save_image
from detkit.data.image import read_image

BLACK = np.zeros((60, 80, 3), np.uint8)


def detections(*boxes: tuple[float, ...]) -> Detections:
    table = np.array(boxes, np.float32).reshape(-1, 4)
    return Detections(table, np.full(len(table), 0.5, np.float32), np.zeros(len(table), np.int64))


def test_box_is_drawn_on_a_copy_in_the_colour_of_its_class() -> None:
    drawn = draw_detections(BLACK, detections((20, 30, 60, 50)), ["cat"])
    assert BLACK.max() == 0
    assert drawn[50, 40].tolist() == list(class_colour(0))
    assert drawn[30, 60].tolist() == list(class_colour(0))
    assert drawn[40, 40].max() == 0


def test_no_detections_leave_the_image_as_it_is() -> None:
    assert np.array_equal(draw_detections(BLACK, detections(), []), BLACK)


@pytest.mark.parametrize(
    "name", ["\u718a", "\u05d0\u05d1", "\U0001f600", "a\x1b[31mb", "", "x" * 500, "\ud800"]
)
def test_any_class_name_can_be_drawn(name: str) -> None:
    draw_detections(BLACK, detections((0, 0, 79, 59)), [name])


@pytest.mark.parametrize("box", [(-9, -9, 300, 300), (50, 50, 40, 40), (75, 55, 79, 59)])
def test_boxes_beyond_the_image_can_be_drawn(box: tuple[float, ...]) -> None:
    assert draw_detections(BLACK, detections(box), ["cat"]).max() > 0


def test_printable_text_has_no_controls_and_known_letters() -> None:
    assert printable("a\x1b\n\u718ab\u00e9") == "a?b\u00e9"


def test_classes_have_colours_that_can_be_told_apart() -> None:
    colours = np.array([class_colour(label) for label in range(12)], float)
    distances = np.linalg.norm(colours[:, None] - colours[None], axis=2)
    assert distances[~np.eye(12, dtype=bool)].min() > 40


def test_sheet_holds_every_image_unscaled_where_they_are_equal() -> None:
    images = [np.full((8, 12, 3), level, np.uint8) for level in (10, 20, 30)]
    sheet = contact_sheet(images, columns=2)
    assert sheet.shape == (2 * 12 + 4, 2 * 16 + 4, 3)
    for level in (10, 20, 30):
        assert (sheet == level).all(axis=2).sum() == 96


def test_sheet_fits_images_of_other_sizes() -> None:
    sheet = contact_sheet([np.full((8, 8, 3), 1, np.uint8), np.full((4, 2, 3), 2, np.uint8)], 9)
    assert (sheet == 2).all(axis=2).sum() == 8 * 4


def test_sheet_of_nothing_is_refused() -> None:
    with pytest.raises(UsageError):
        contact_sheet([], columns=3)


@pytest.mark.parametrize("suffix", [".png", ".JPG", ".jpeg"])
def test_suffix_decides_the_format(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    save_image(path, np.full((9, 7, 3), 200, np.uint8))
    assert np.abs(read_image(path).astype(int) - 200).max() <= 2
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == [path.name]


def test_other_suffixes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.png or \.jpg"):
        save_image(tmp_path / "a.exe", BLACK)
