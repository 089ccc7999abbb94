from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from detkit.config import LabelConfig
from detkit.core.errors import DataError, UsageError
from detkit.labelling.images import LabelSource, find_label_images, safe_name, val_names


def names(source: LabelSource) -> list[str]:
    return [item.name for item in source.items]


def test_a_folder_of_images_has_no_labels_and_is_to_be_trained_on(cell_folder: Path) -> None:
    source = find_label_images([cell_folder / "images"], cell_folder / "out", LabelConfig())
    assert names(source) == ["a.png", "b.png", "d.png", "deep/c.png"]
    assert {item.split for item in source.items} == {"train"}
    assert not any(item.human for item in source.items)
    assert source.human_names == ()


def test_a_coco_folder_is_what_its_splits_list(cell_folder: Path, tmp_path: Path) -> None:
    shutil.copy(cell_folder / "images" / "a.png", cell_folder / "images" / "unlisted.png")
    source = find_label_images([cell_folder], tmp_path / "out", LabelConfig())
    assert sorted(names(source)) == ["a.png", "b.png", "d.png", "deep/c.png"]
    assert {item.split for item in source.items} == {"val"}
    assert all(item.human for item in source.items)
    assert source.human_names == ("red", "green")


def test_one_split_of_a_coco_folder_may_be_asked_for(cell_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no split 'test'"):
        find_label_images([cell_folder], tmp_path / "out", LabelConfig(split="test"))
    with pytest.raises(UsageError, match="have their splits"):
        find_label_images([cell_folder], tmp_path / "out", LabelConfig(val_share=0.5))


def test_splits_may_use_the_same_names(cell_folder: Path, tmp_path: Path) -> None:
    """As Roboflow's exports do."""
    for split in ("train", "valid"):
        (tmp_path / "set" / split).mkdir(parents=True)
        shutil.copy(cell_folder / "images" / "a.png", tmp_path / "set" / split / "a.png")
        entry = {"id": 0, "file_name": "a.png", "width": 64, "height": 64}
        document = {"images": [entry], "annotations": [], "categories": [{"id": 1, "name": "x"}]}
        (tmp_path / "set" / split / "_annotations.coco.json").write_text(json.dumps(document))
    source = find_label_images([tmp_path / "set"], tmp_path / "out", LabelConfig())
    assert names(source) == ["a.png", "val/a.png"]
    assert len({item.path for item in source.items}) == 2


def test_images_beside_those_that_the_annotations_list_are_labelled_too(cell_folder: Path) -> None:
    path = cell_folder / "annotations" / "instances_val.json"
    document = json.loads(path.read_text())
    document["images"] = [i for i in document["images"] if i["file_name"] == "deep/c.png"]
    document["annotations"] = []
    (cell_folder.parent / "mine.json").write_text(json.dumps(document))
    source = find_label_images(
        [cell_folder / "images"],
        cell_folder / "out",
        LabelConfig(),
        annotations=cell_folder.parent / "mine.json",
    )
    assert names(source) == ["deep/c.png", "a.png", "b.png", "d.png"]
    assert [item.human is not None for item in source.items] == [True, False, False, False]
    assert source.human_names == ("red", "green")


def test_annotations_are_about_one_folder(cell_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--annotations"):
        find_label_images(
            [cell_folder / "images", cell_folder],
            tmp_path / "out",
            LabelConfig(),
            annotations=cell_folder / "annotations" / "instances_val.json",
        )


def test_what_lies_in_the_new_folder_is_no_input(cell_folder: Path) -> None:
    images, out = cell_folder / "images", cell_folder / "images" / "deep"
    source = find_label_images([images], out, LabelConfig())
    assert names(source) == ["a.png", "b.png", "d.png"]
    with pytest.raises(DataError, match="no images in"):
        find_label_images([images], images, LabelConfig())


def test_files_and_folders_may_be_named_together(cell_folder: Path, tmp_path: Path) -> None:
    images = cell_folder / "images"
    source = find_label_images([images / "a.png", images / "deep"], tmp_path / "o", LabelConfig())
    assert names(source) == ["a.png", "deep/c.png"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a/b c.jpg", "a/b c.jpg"),
        ("a\\b.jpg", "a_b.jpg"),
        ("d:x.jpg", "d_x.jpg"),
        (os.fsdecode(b"\xff.jpg"), "?.jpg"),
    ],
)
def test_names_that_annotations_cannot_hold_are_changed(name: str, expected: str) -> None:
    assert safe_name(name) == expected


def test_changed_names_stay_distinct(cell_folder: Path, tmp_path: Path) -> None:
    for name in ("x\\y.png", "x_y.png"):
        shutil.copy(cell_folder / "images" / "a.png", tmp_path / name)
    found = names(find_label_images([tmp_path], tmp_path / "out", LabelConfig()))
    assert len(found) == len(set(found)) == len([*tmp_path.rglob("*.png")])


def test_the_share_for_val_is_exact_seeded_and_keeps_its_images_when_others_come() -> None:
    many = [f"{i}.jpg" for i in range(200)]
    chosen = val_names(many, 0.1, seed=0)
    assert len(chosen) == 20
    assert val_names(many[::-1], 0.1, seed=0) == chosen
    assert val_names(many, 0.1, seed=1) != chosen
    assert len(chosen & val_names(many[:150], 0.1, seed=0)) >= 10
    assert len(val_names(many[:3], 0.1, seed=0)) == 1
    assert val_names(many, 0, seed=0) == set()


def test_a_share_for_val_needs_images_to_train_on() -> None:
    with pytest.raises(UsageError, match="val_share"):
        LabelConfig(split="test", val_share=0.1)
