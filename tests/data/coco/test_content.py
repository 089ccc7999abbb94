"""What counts as the same data: what is learned from, not how the files say it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from detkit.data.coco.content import content_digest
from detkit.data.coco.folder import open_folder
from detkit.data.synthetic.synth import synthesize


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "coco"
    synthesize(folder, images={"train": 4, "val": 2}, size=64, seed=5)
    return folder


@pytest.fixture
def copy(data: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(data, tmp_path / "elsewhere"))


def digest(root: Path) -> str:
    return content_digest(open_folder(root, splits=("train",)).splits["train"])


def edit(root: Path, change: Any) -> None:
    path = root / "annotations" / "instances_train.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document, indent=3))


def test_the_same_elsewhere_in_other_words_is_the_same(data: Path, copy: Path) -> None:
    def renumber(document: Any) -> None:
        categories = {one["id"]: 90 - one["id"] for one in document["categories"]}
        for one in document["categories"]:
            one["id"] = categories[one["id"]]
        for one in document["annotations"]:
            one["category_id"] = categories[one["category_id"]]
        for one in document["images"]:
            old = copy / "images" / one["file_name"]
            one["file_name"] = f"train/new-{old.name}"
            old.rename(copy / "images" / one["file_name"])

    edit(copy, renumber)
    assert digest(copy) == digest(data)


def _move_box(document: Any) -> None:
    document["annotations"][0]["bbox"][0] += 1


def _swap_names(document: Any) -> None:
    a, b = document["categories"][:2]
    a["name"], b["name"] = b["name"], a["name"]


@pytest.mark.parametrize(
    "change",
    [
        _move_box,
        _swap_names,
        lambda document: document["annotations"].pop(),
        lambda document: document["images"].reverse(),
        lambda document: document["annotations"][0].update(iscrowd=1),
    ],
    ids=["a box moved", "classes swapped", "a box less", "another order", "a crowd"],
)
def test_what_would_be_learned_otherwise_is_other_data(data: Path, copy: Path, change: Any) -> None:
    edit(copy, change)
    assert digest(copy) != digest(data)


def test_other_pixels_of_the_same_size_are_other_data(data: Path, copy: Path) -> None:
    one, other, *_ = sorted((copy / "images" / "train").iterdir())
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    assert digest(copy) != digest(data)
