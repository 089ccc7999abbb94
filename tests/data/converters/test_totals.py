"""Whatever a folder holds, what is used and what is left out are together all there is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detkit.data.coco.folder import inspect_folder
from detkit.data.coco.split_reader import totals
from detkit.data.converters.convert import ConvertOptions, read_source

ROWS = (
    *("0 0.5 0.5 0.5 0.5", "1.0 0.2 0.2 0.1 0.1", "0 0.5 0.5 0 0.5", "9 0.5 0.5 0.5 0.5"),
    *("0 0.5 0.5", "cat 0.5 0.5 0.5 0.5", "0 3 3 0.1 0.1", "0 0.1 0.1 0.9 0.1 0.5 0.9"),
)
BOXES = ([1, 1, 4, 4], [1, 1, 0, 4], ["1", 1, 4, 4], None, [90, 1, 4, 4], [6, 6, 9, 9], "x")
MARKS = (0, 1, "0", "1", 1.0, None, 7, "no")


def image(path: Path, rng: np.random.Generator) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(path)
    if rng.random() < 0.2:
        path.write_bytes(path.read_bytes()[:60])


@pytest.mark.parametrize("seed", range(12))
def test_totals_of_dirty_yolo_folders_add_up(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    root, rows = tmp_path / "yolo", 0
    labelled_elsewhere, label_files = 0, 0
    for split in ("train", "val", "spare"):
        for number in range(6):
            has_image, has_labels = rng.random(2) < 0.8
            if has_image or (split, number) == ("train", 0):
                image(root / f"images/{split}/{number}.png", rng)
            if has_labels or (split, number) == ("train", 0):
                chosen = rng.choice(ROWS, rng.integers(1, 4)).tolist()
                path = root / f"labels/{split}/{number}.txt"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("\n".join(chosen))
                looks_like = len(chosen[0].split()) > 4 and not chosen[0].startswith("cat")
                there = (root / f"images/{split}/{number}.png").exists()
                label_files += there or looks_like
                labelled_elsewhere += there and split == "spare"
                rows += len(chosen) if there and split != "spare" else 0
    (root / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [cat, dog]\n")
    images = sum(len(list((root / f"images/{split}").glob("*"))) for split in ("train", "val"))
    report = read_source(root, tmp_path / "out", ConvertOptions(from_="yolo")).report
    found = {thing: used + lost for thing, (used, lost) in totals(report).items()}
    assert found == {
        "images": images + labelled_elsewhere,
        "boxes": rows,
        "label files": label_files,
    }


@pytest.mark.parametrize("seed", range(12))
def test_totals_of_dirty_coco_folders_add_up(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    images = [{"id": n, "file_name": f"{n}.png", "width": 8, "height": 8} for n in range(1, 9)]
    for item in images:
        if rng.random() < 0.8:
            image(tmp_path / f"images/{item['file_name']}", rng)
    (tmp_path / "images").mkdir(exist_ok=True)
    annotations = [
        {
            "id": n,
            "image_id": [1, 2.0, "3", 99, None][rng.integers(5)],
            "category_id": [1, "1", 1.0, 5][rng.integers(4)],
            "bbox": BOXES[rng.integers(len(BOXES))],
            "iscrowd": MARKS[rng.integers(len(MARKS))],
        }
        for n in range(20)
    ]
    document = {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "cat"}],
    }
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations/instances_train.json").write_text(json.dumps(document))
    report = inspect_folder(tmp_path).report
    assert {k: sum(pair) for k, pair in totals(report).items()} == {"images": 8, "boxes": 20}
    assert not any(fault.action == "rejected" for fault in report.faults)
