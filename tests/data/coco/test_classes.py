from __future__ import annotations

import json
from pathlib import Path

import pytest

from detkit.core.errors import DataError
from detkit.data.coco.classes import in_class_order, match_classes, of_classes, read_classes
from detkit.data.coco.folder import open_folder

NAMES = ("cat", "dog", "yak")


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


def test_classes_are_matched_by_name_whatever_their_order() -> None:
    assert match_classes(("dog", "yak", "cat"), NAMES).tolist() == [1, 2, 0]


@pytest.mark.parametrize(
    ("model", "data", "message"),
    [
        (("cat", "dog"), NAMES, "the model does not know the class 'yak'"),
        (("Cat", "dog", "Yak"), NAMES, "the model does not know the class 'cat' and 1 more"),
    ],
)
def test_other_classes_are_an_error(
    model: tuple[str, ...], data: tuple[str, ...], message: str
) -> None:
    with pytest.raises(DataError) as caught:
        match_classes(model, data)
    assert str(caught.value) == message
    assert caught.value.hint


def test_a_folder_comes_in_the_order_of_other_names(cell_folder: Path) -> None:
    path = cell_folder / "annotations" / "instances_val.json"
    plain = json.loads(path.read_text())
    plain["categories"].append({"id": 3, "name": "blue"})
    plain["images"][0]["neg_category_ids"] = [1]
    path.write_text(json.dumps(plain))
    folder = open_folder(cell_folder)
    assert in_class_order(folder, ("red", "green", "blue")).splits == folder.splits
    before = folder.split("val")
    after = in_class_order(folder, ("blue", "red", "green")).split("val")
    assert (after.class_names, after.category_ids) == (("blue", "red", "green"), (3, 1, 2))
    for old, new in zip(before.records, after.records, strict=True):
        names = [after.class_names[label] for label in new.classes]
        assert names == [before.class_names[label] for label in old.classes]
    assert [record.known is None for record in after.records] == [False, True, True, True]
    first = after.records[0].known
    assert first is not None
    assert first.tolist() == [False, True, True]
    more = in_class_order(folder, ("cow", "red", "green", "blue")).split("val")
    assert (more.class_names[0], more.category_ids) == ("cow", (4, 1, 2, 3))
    assert before.records[0].known is not None
    assert more.records[0].known is not None
    assert more.records[0].known.tolist() == [False, *before.records[0].known.tolist()]
    with pytest.raises(DataError, match="the model does not know the class 'blue'"):
        in_class_order(folder, ("red", "green"))


def test_a_model_may_have_classes_that_the_data_lacks() -> None:
    assert match_classes(("dog", "owl", "cat", "yak"), NAMES).tolist() == [1, -1, 0, 2]


def test_a_split_of_the_classes_that_are_shared(cell_folder: Path) -> None:
    before = open_folder(cell_folder).split("val")
    after = of_classes(before, ("owl", "green"))
    assert (after.class_names, after.category_ids) == (("green",), (2,))
    for old, new in zip(before.records, after.records, strict=True):
        assert new.boxes_xyxy.tolist() == old.boxes_xyxy[old.classes == 1].tolist()
        assert new.classes.tolist() == [0] * int((old.classes == 1).sum())
    with pytest.raises(DataError, match="none of the model's classes"):
        of_classes(before, ("owl",))
