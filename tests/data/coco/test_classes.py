from __future__ import annotations

import json
from pathlib import Path

import pytest

from detkit.core.errors import DataError
from detkit.data.coco.classes import read_classes


def test_classes_are_in_the_order_of_their_ids_from_a_file_or_a_folder(cell_folder: Path) -> None:
    path = cell_folder / "annotations" / "instances_val.json"
    plain = json.loads(path.read_text())
    plain["categories"] = [{"id": 9, "name": "green"}, {"id": 4, "name": "red"}]
    path.write_text(json.dumps(plain))
    for place in (path, cell_folder):
        found = read_classes(place)
        assert (found.names, found.ids) == (("red", "green"), (4, 9))


def test_those_of_the_split_that_is_asked_for_are_read(cell_folder: Path) -> None:
    train = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "other"}]}
    (cell_folder / "annotations" / "instances_train.json").write_text(json.dumps(train))
    assert read_classes(cell_folder).names == ("red", "green")
    assert read_classes(cell_folder, split="train").names == ("other",)


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "no classes: "), ("[]", "no classes: "), (None, "no classes: ")],
)
def test_a_file_without_classes_is_refused_with_the_reason(
    tmp_path: Path, content: str | None, message: str
) -> None:
    path = tmp_path / "x.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=message):
        read_classes(path)


def test_a_folder_of_no_known_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a COCO folder"):
        read_classes(tmp_path)
