from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from detkit.data.coco.folder import open_folder
from detkit.data.coco.write import LabelledImage, split_writers, write_split

BOXES = np.array([[1, 2, 11, 22], [0, 0, 4, 4]], np.float32)


def image(name: str = "a.jpg", **more: object) -> LabelledImage:
    values = {"boxes_xyxy": BOXES, "classes": np.array([1, 0]), **more}
    return LabelledImage(file_name=name, width=40, height=30, **values)  # type: ignore[arg-type]


def read(root: Path, split: str = "train") -> dict[str, list[dict[str, object]]]:
    found: dict[str, list[dict[str, object]]] = json.loads(
        (root / "annotations" / f"instances_{split}.json").read_text(encoding="utf-8")
    )
    return found


def test_ids_count_from_one_over_all_images(tmp_path: Path) -> None:
    write_split(tmp_path, "train", [image("a.jpg"), image("\u00e9.jpg")], ("cat", "dog"))
    found = read(tmp_path)
    assert [(i["id"], i["file_name"]) for i in found["images"]] == [(1, "a.jpg"), (2, "\u00e9.jpg")]
    assert [a["id"] for a in found["annotations"]] == [1, 2, 3, 4]
    assert [a["image_id"] for a in found["annotations"]] == [1, 1, 2, 2]
    assert found["annotations"][0]["bbox"] == [1, 2, 10, 20]
    assert found["annotations"][0]["area"] == 200
    assert [c["name"] for c in found["categories"]] == ["cat", "dog"]


def test_a_split_of_nothing_is_written(tmp_path: Path) -> None:
    write_split(tmp_path, "train", [], ("cat",))
    assert read(tmp_path)["images"] == []


def test_scores_crowds_and_areas_are_kept(tmp_path: Path) -> None:
    item = image(
        scores=np.array([np.nan, 1e-9], np.float32),
        crowd=np.array([True, False]),
        area=np.array([150.0, 16.0]),
    )
    write_split(tmp_path, "train", [item], ("cat", "dog"))
    first, second = read(tmp_path)["annotations"]
    assert "score" not in first
    assert (first["iscrowd"], first["area"]) == (1, 150)
    assert second["score"] == 1e-6  # a score of 0 would not be one


def test_classes_that_nobody_looked_for_are_told_as_lvis_does(tmp_path: Path) -> None:
    names = ("cat", "dog", "cow", "hen")
    some = image(known=np.array([True, False, True, False]))
    write_split(tmp_path, "train", [some, image(known=np.ones(4, bool))], names)
    partly, wholly = read(tmp_path)["images"]
    assert partly["neg_category_ids"] == [3]  # cow: looked for, and not there
    assert partly["not_exhaustive_category_ids"] == [2]  # dog: there, and perhaps more
    assert not {"neg_category_ids", "not_exhaustive_category_ids"} & set(wholly)


def test_all_splits_appear_together_and_none_after_an_error(tmp_path: Path) -> None:
    def write_one_and_fail() -> None:
        with split_writers(tmp_path, ("cat", "dog")) as writer_of:
            writer_of("val").add(image())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_one_and_fail()
    assert not [*(tmp_path / "annotations").iterdir()]
    with split_writers(tmp_path, ("cat", "dog")) as writer_of:
        writer_of("val").add(image())
        writer_of("train").add(image())
        assert not [*(tmp_path / "annotations").iterdir()]
    names = sorted(path.name for path in (tmp_path / "annotations").iterdir())
    assert names == ["instances_train.json", "instances_val.json"]


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    from detkit.data.draw import save_image

    save_image(tmp_path / "images" / "a.png", np.zeros((30, 40, 3), np.uint8))
    write_split(tmp_path, "train", [image("a.png")], ("cat", "dog"))
    (record,) = open_folder(tmp_path).split("train").records
    assert record.boxes_xyxy.tolist() == BOXES.tolist()
    assert record.classes.tolist() == [1, 0]
