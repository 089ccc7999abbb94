from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from detkit.core.boxes import Detections
from detkit.data.draw import save_image
from detkit.data.image import read_image
from detkit.labelling.doubt import doubt_of
from detkit.labelling.image_labels import ImageLabels
from detkit.labelling.images import LabelItem
from detkit.labelling.review import PAGE, REPORTED, ReviewList

NONE = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64))


def labels_of(score: float) -> ImageLabels:
    box, label = np.array([[2, 2, 20, 20]], np.float32), np.array([0])
    labels = Detections(box, np.array([score], np.float32), label) if score else NONE
    return ImageLabels(labels=labels, near_misses=NONE)


def review_of(out: Path, scores: dict[str, float], num_sheets: int) -> ReviewList:
    """A list of images with one label each, or none where the score is 0."""
    review = ReviewList(num_sheets)
    for name, score in scores.items():
        path = out / "images" / name
        save_image(path, np.full((24, 32, 3), 90, np.uint8))
        item, labels = LabelItem(path=path, name=name, split="train"), labels_of(score)
        review.add(item, labels, doubt_of(labels), num_boxes=len(labels.labels))
    return review


def listed(out: Path) -> list[dict[str, str]]:
    with (out / "doubtful.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_all_images_are_listed_the_most_doubtful_first_then_by_name(tmp_path: Path) -> None:
    scores = {"sure.png": 1.0, "b.png": 0.5, "worst.png": 0.25, "a.png": 0.5, "none.png": 0.0}
    review = review_of(tmp_path, scores, 1)
    assert review.write(tmp_path, ["cat"]) == ("sheets/doubtful-001.png",)
    rows = listed(tmp_path)
    names = [Path(row["image"]).name for row in rows]
    assert names == ["worst.png", "a.png", "b.png", "none.png", "sure.png"]
    assert [row["doubt"] for row in rows] == ["0.7500", "0.5000", "0.5000", "0.0000", "0.0000"]
    assert [row["boxes"] for row in rows] == ["1", "1", "1", "0", "1"]
    assert [item.image for item in review.most_doubtful] == [row["image"] for row in rows[:3]]


def test_pages_hold_the_most_doubtful_and_no_more_than_asked_for(tmp_path: Path) -> None:
    many = {f"{i:03}.png": 0.9 - i / 1000 for i in range(3 * PAGE)}  # later ones in more doubt
    review = review_of(tmp_path, many, 2)
    assert len(review._shown) <= 2 * 2 * PAGE  # what it holds does not grow with the folder
    names = review.write(tmp_path, ["cat"])
    assert names == ("sheets/doubtful-001.png", "sheets/doubtful-002.png")
    assert [seen.row.image for seen in review._most_doubtful()] == [
        row["image"] for row in listed(tmp_path)[: 2 * PAGE]
    ]
    assert len(review.most_doubtful) == REPORTED
    first, second = (read_image(tmp_path / name) for name in names)
    assert first.shape == second.shape


@pytest.mark.parametrize("num_sheets", [0, 3])
def test_no_page_is_made_of_nothing(tmp_path: Path, num_sheets: int) -> None:
    score = 0.5 if num_sheets == 0 else 1.0
    review = review_of(tmp_path, {"a.png": score}, num_sheets)
    assert review.write(tmp_path, ["cat"]) == ()
    assert not (tmp_path / "sheets").exists()


def test_names_of_files_cannot_break_the_list_or_start_a_formula(tmp_path: Path) -> None:
    odd = '=1+1,"x"\n.png'
    review_of(tmp_path, {odd: 0.5}, 0).write(tmp_path, ["cat"])
    (row,) = listed(tmp_path)
    assert row["image"] == f"images/{odd}"
