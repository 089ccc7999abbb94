"""Folders and files that are not COCO's get the line that makes a COCO folder of them."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from detkit.core.errors import DataError
from detkit.data.coco.layout import EXPECTED, find_layout


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (("images/", "labels/", "data.yaml"), "yolo"),
        (("images/", "labels/", "classes.txt"), "yolo"),
        (("Annotations/", "JPEGImages/", "ImageSets/"), "voc"),
        (("Annotations/", "images/"), "voc"),
    ],
)
def test_labels_of_other_formats_name_the_converter(
    tmp_path: Path, names: tuple[str, ...], kind: str
) -> None:
    root = tmp_path / "fruit"
    for name in names:
        (root / name).mkdir(parents=True) if name.endswith("/") else (root / name).touch()
    with pytest.raises(DataError, match="is not a COCO folder") as raised:
        find_layout(root)
    assert raised.value.hint == f"detkit data convert {root} --from {kind} -o fruit-coco"


def test_a_file_in_the_place_of_a_folder_gets_what_it_is_good_for(tmp_path: Path) -> None:
    (tmp_path / "data.yaml").touch()
    (tmp_path / "boxes.json").touch()
    for name, hint in (("data.yaml", "--from yolo"), ("boxes.json", "--train-json")):
        with pytest.raises(DataError, match="no folder: ") as raised:
            find_layout(tmp_path / name)
        assert hint in raised.value.hint


def test_other_folders_get_the_layouts_that_are_known(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(DataError) as raised:
            find_layout(folder)
        assert raised.value.hint == EXPECTED


def test_the_line_of_the_converter_can_be_typed_whatever_the_name(tmp_path: Path) -> None:
    root = tmp_path / "my fruit"
    root.mkdir()
    (root / "dataset.yml").touch()
    with pytest.raises(DataError) as raised:
        find_layout(root)
    line = ["detkit", "data", "convert", str(root), "--from", "yolo", "-o", "my fruit-coco"]
    assert shlex.split(raised.value.hint) == line
