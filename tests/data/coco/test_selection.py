"""Classes, images and boxes that are left out of a folder on request."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from detkit.artifact.artifact import Signature
from detkit.core.errors import DataError, UsageError
from detkit.data.coco.content import content_digest
from detkit.data.coco.folder import CocoFolder, open_folder
from detkit.data.coco.selection import (
    Selection,
    as_one_class,
    as_trained,
    parse_class_names,
    select,
)
from detkit.data.synthetic.synth import synthesize
from detkit.spec.class_scope import ClassScope
from detkit.spec.preprocess import Preprocess


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> CocoFolder:
    """20 training and 8 validation images; classes that not all of them have."""
    path = tmp_path_factory.mktemp("selected") / "coco"
    synthesize(path, images={"train": 20, "val": 8}, size=64, seed=1)
    return open_folder(path, verify_pixels=False)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", ()),
        (" ", ()),
        ("car", ("car",)),
        ("car, bus,car,", ("car", "bus")),
        ('"sign, stop",car', ("sign, stop", "car")),
    ],
)
def test_class_names_are_separated_by_commas(text: str, names: tuple[str, ...]) -> None:
    assert parse_class_names(text) == names


def test_nothing_chosen_is_the_folder_itself(folder: CocoFolder) -> None:
    assert select(folder, Selection()) == (folder, ())


def test_boxes_of_other_classes_are_left_out_and_their_images_kept(folder: CocoFolder) -> None:
    names = folder.splits["train"].class_names
    part, notes = select(folder, Selection(classes=(names[1],)))
    for name, whole in folder.splits.items():
        split = part.splits[name]
        assert split.class_names == (names[1],)
        assert [r.image_id for r in split.records] == [r.image_id for r in whole.records]
        for before, after in zip(whole.records, split.records, strict=True):
            assert np.array_equal(after.boxes_xyxy, before.boxes_xyxy[before.classes == 1])
            assert not after.classes.any()
    counts = {split.split: split for split in part.report.splits}
    assert counts["train"].boxes == sum(len(r.classes) for r in part.splits["train"].records)
    assert list(counts["train"].boxes_per_class) == [names[1]]
    assert part.report.class_names == (names[1],)
    assert notes[0].startswith(f"train: taken are 1 of {len(names)} classes, 20 of 20 images, ")


def test_images_of_other_classes_alone_can_be_left_out(folder: CocoFolder) -> None:
    train = folder.splits["train"]
    part, _ = select(folder, Selection(classes=(train.class_names[1],), other_images="drop"))
    expected = [r.image_id for r in train.records if (r.classes == 1).any() or not len(r.classes)]
    assert [r.image_id for r in part.splits["train"].records] == expected
    assert any(not len(r.classes) for r in part.splits["train"].records)  # negatives of all classes
    assert len(expected) < len(train.records)


def test_a_class_that_is_not_there_is_refused_with_the_near_one(folder: CocoFolder) -> None:
    name = folder.splits["train"].class_names[0]
    with pytest.raises(UsageError, match=f"no class '{name}x'") as caught:
        select(folder, Selection(classes=(f"{name}x",)))
    assert caught.value.hint == f"did you mean '{name}'?"


def test_classes_that_leave_no_image_are_refused(folder: CocoFolder) -> None:
    val = folder.splits["val"]
    records = tuple(r for r in val.records if (r.classes == 1).all() and len(r.classes))
    part = dataclasses.replace(folder, splits={"val": dataclasses.replace(val, records=records)})
    with pytest.raises(DataError, match="leave no image in 'val'"):
        select(part, Selection(classes=(val.class_names[0],), other_images="drop"))


def test_all_classes_can_be_one(folder: CocoFolder) -> None:
    part, _ = select(folder, Selection(single_class=True))
    for name, split in part.splits.items():
        assert split.class_names == ("object",)
        pairs = zip(folder.splits[name].records, split.records, strict=True)
        assert all(len(a.classes) == len(b.classes) and not b.classes.any() for a, b in pairs)
    assert len(part.splits["val"].category_ids) == 1


def test_one_class_is_known_where_every_class_was(folder: CocoFolder) -> None:
    val = folder.splits["val"]
    count = len(val.class_names)
    known = (None, np.ones(count, bool), np.arange(count) > 0)
    records = tuple(
        dataclasses.replace(r, known=k) for r, k in zip(val.records[:3], known, strict=True)
    )
    one = as_one_class(dataclasses.replace(val, records=records))
    assert [None if r.known is None else r.known.tolist() for r in one.records] == [
        None,
        [True],
        [False],
    ]


def test_a_fraction_takes_training_images_alone_and_grows_by_more(folder: CocoFolder) -> None:
    def drawn(fraction: float, seed: int = 0) -> list[int]:
        part, _ = select(folder, Selection(fraction=fraction, seed=seed))
        assert part.splits["val"] is folder.splits["val"]
        return [record.image_id for record in part.splits["train"].records]

    few, half = drawn(0.25), drawn(0.5)
    assert (len(few), len(half), len(drawn(1e-6))) == (5, 10, 1)
    assert set(few) < set(half)
    assert half == sorted(half)
    assert half == drawn(0.5) != drawn(0.5, seed=1)


@pytest.mark.parametrize("num_classes", [0, 2])
@pytest.mark.parametrize("single", [False, True])
def test_a_model_is_scored_on_what_it_was_trained_on(
    folder: CocoFolder, num_classes: int, single: bool
) -> None:
    val = folder.splits["val"]
    chosen = Selection(classes=val.class_names[:num_classes], single_class=single)
    trained = select(folder, chosen)[0].splits["val"]
    facts = Signature(
        kind="onnx",
        class_names=trained.class_names,
        class_scope=chosen.class_scope,
        preprocess=Preprocess(size=(64, 64), fit=(64, 64)),
    )
    assert content_digest(as_trained(val, facts)) == content_digest(trained)


def test_an_unknown_scope_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown kind 'few'"):
        ClassScope(kind="few")
    assert str(ClassScope(kind="one", names=("car", "bus"))) == "car, bus as one"
