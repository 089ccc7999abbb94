"""Labels that are unsure, and labels that are complete for some classes only."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from detkit.core.errors import DataError
from detkit.data.coco import faults
from detkit.data.coco.folder import inspect_folder, open_folder

Json = dict[str, Any]


def write_folder(root: Path, images: list[Json], annotations: list[Json]) -> Path:
    """A train split of grey 40x30 images with the classes cat (3), dog (7) and yak (9)."""
    (root / "annotations").mkdir(parents=True)
    (root / "images").mkdir()
    for number, item in enumerate(images, 1):
        item.update(id=number, file_name=f"{number}.png", width=40, height=30)
        Image.new("RGB", (40, 30), (number,) * 3).save(root / "images" / item["file_name"])
    for number, item in enumerate(annotations, 1):
        item.update(id=number, area=80.0, iscrowd=0, bbox=[2.0 * number, 4.0, 10.0, 8.0])
    names = {3: "cat", 7: "dog", 9: "yak"}
    categories = [{"id": number, "name": name} for number, name in names.items()]
    document = {"images": images, "annotations": annotations, "categories": categories}
    (root / "annotations" / "instances_train.json").write_text(json.dumps(document))
    return root


def test_scores_are_read_and_are_one_where_there_are_none(tmp_path: Path) -> None:
    boxes: list[Json] = [
        {"image_id": 1, "category_id": 3, "score": 0.25},
        {"image_id": 1, "category_id": 7},
    ]
    record = open_folder(write_folder(tmp_path / "coco", [{}], boxes)).split("train").records[0]
    assert record.scores.tolist() == [0.25, 1.0]
    assert record.known is None


@pytest.mark.parametrize("score", [0, 1.5, -0.1, "half", None, True, [1]])
def test_a_score_that_is_none_drops_the_box(tmp_path: Path, score: object) -> None:
    boxes: list[Json] = [{"image_id": 1, "category_id": 3, "score": score}]
    report = inspect_folder(write_folder(tmp_path / "coco", [{}], boxes)).report
    assert report.counts == {faults.BOX_SCORE: 1}
    assert report.splits[0].dropped_boxes == 1


def test_a_score_that_is_not_finite_rejects_the_folder(tmp_path: Path) -> None:
    boxes: list[Json] = [{"image_id": 1, "category_id": 3, "score": float("nan")}]
    with pytest.raises(DataError, match="NaN"):
        open_folder(write_folder(tmp_path / "coco", [{}], boxes))


@pytest.mark.parametrize(
    ("fields", "known"),
    [
        ({}, None),
        ({"neg_category_ids": []}, [True, False, False]),
        ({"neg_category_ids": [9]}, [True, False, True]),
        ({"neg_category_ids": [9], "not_exhaustive_category_ids": [3]}, [False, False, True]),
        ({"not_exhaustive_category_ids": []}, [True, False, False]),
        ({"neg_category_ids": [9, 1234]}, [True, False, True]),
    ],
)
def test_what_an_images_labels_speak_of(
    tmp_path: Path, fields: Json, known: list[bool] | None
) -> None:
    boxes: list[Json] = [{"image_id": 1, "category_id": 3}]
    folder = open_folder(write_folder(tmp_path / "coco", [fields], boxes))
    found = folder.split("train").records[0].known
    assert (None if found is None else found.tolist()) == known
    unknown = {faults.ABSENT_UNKNOWN: 1} if 1234 in fields.get("neg_category_ids", ()) else {}
    assert folder.report.counts == unknown


@pytest.mark.parametrize("ids", [3, "3", [3.5], [True], {"3": 1}])
def test_lists_of_categories_that_are_none_reject_the_folder(tmp_path: Path, ids: object) -> None:
    with pytest.raises(DataError, match="not of the expected form"):
        open_folder(write_folder(tmp_path / "coco", [{"neg_category_ids": ids}], []))


def test_complete_and_partial_images_share_a_split(tmp_path: Path) -> None:
    images: list[Json] = [{}, {"neg_category_ids": [7]}]
    boxes: list[Json] = [{"image_id": 1, "category_id": 3}]
    records = open_folder(write_folder(tmp_path / "coco", images, boxes)).split("train").records
    assert records[0].known is None
    assert records[1].known is not None
    assert np.array_equal(records[1].known, [False, True, False])
