"""The folder that the starter weights are trained on: several sets as one, by their names."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

UNION = Path(__file__).parents[2] / "benchmarks" / "starter_union.py"


def union(*args: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(UNION), *map(str, args)]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def write_set(root: Path, boxes: dict[str, list[str]], classes: list[str]) -> Path:
    """A train split: the class names of the boxes of each image, whose bytes are its own name."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (name, labels) in enumerate(boxes.items(), 1):
        path = root / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{root} {name}")
        images.append({"id": number, "file_name": name, "width": 40, "height": 30})
        for label in labels:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": 10 * classes.index(label),
                    "bbox": [number, 2, 3, 4],
                }
            )
    categories = [{"id": 10 * i, "name": name} for i, name in enumerate(classes)]
    (root / "annotations").mkdir()
    text = json.dumps({"images": images, "annotations": annotations, "categories": categories})
    (root / "annotations" / "instances_train.json").write_text(text)
    return root


def test_sets_become_one_by_the_names_of_their_classes(tmp_path: Path) -> None:
    flat = write_set(tmp_path / "flat", {"a.jpg": ["Sofa"], "b.jpg": []}, ["Sofa", "cat"])
    deep = write_set(
        tmp_path / "deep", {"x/a.jpg": ["dog"], "y/a.jpg": ["couch"]}, ["dog", "couch"]
    )
    drawn = write_set(tmp_path / "drawn", {"a.jpg": ["object"]}, ["object"])
    out = tmp_path / "out"
    for _ in range(2):  # the second time all images are there
        done = union(out, "--set", flat, "--set", deep, "--drawn", drawn)
        assert done.returncode == 0, done.stderr
    found = json.loads((out / "annotations" / "instances_train.json").read_text())
    ids = {item["name"]: item["id"] for item in found["categories"]}
    assert list(ids) == ["couch", "cat", "dog", "object"]
    names = {item["id"]: item["file_name"] for item in found["images"]}
    for name in names.values():  # every image is its own, those of equal names too
        root, _, file_name = name.split("/", 2)
        assert (out / "images" / name).read_text() == f"{tmp_path / root} {file_name}"
    boxes = {(names[item["image_id"]], item["category_id"]) for item in found["annotations"]}
    assert boxes == {
        ("flat/train/a.jpg", ids["couch"]),
        ("deep/train/x/a.jpg", ids["dog"]),
        ("deep/train/y/a.jpg", ids["couch"]),
        ("drawn/train/a.jpg", ids["object"]),
    }
    known = [item.get("neg_category_ids") for item in found["images"]]
    assert known == [[1, 2], [1, 2], [1, 3], [1, 3], None]  # of the set's own classes alone
    assert not [*out.rglob("*.part")]


def test_two_sets_of_one_name_are_not_mixed(tmp_path: Path) -> None:
    sets = [write_set(tmp_path / place / "coco", {"a.jpg": []}, ["cat"]) for place in ("x", "y")]
    done = union(tmp_path / "out", "--set", sets[0], "--set", sets[1])
    assert done.returncode == 1
    assert f"{sets[1]} has the name of {sets[0]}" in done.stderr
