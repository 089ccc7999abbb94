"""The peer that `field.py` measures beside detkit: ultralytics' YOLOs, by its command line.

It is AGPL-3.0: installed apart, run as a program, and nothing of it is read here. PEERS names the
folder of its virtual environment, `ul`, and where it is needed of libraries in `stub`:

    python3 -m venv $PEERS/ul
    $PEERS/ul/bin/pip install torch==2.13.0 && $PEERS/ul/bin/pip install ultralytics

Its networks are trained from nothing with its own defaults; the weights that it would download
cannot be had offline.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

SPLITS = ("train", "val", "test")
CURVE = "metrics/mAP50-95(B)"  # its column of `results.csv`


@dataclass(frozen=True)
class PeerRun:
    """A finished training: checkpoints by name, seconds, training images, its own AP by epoch."""

    weights: dict[str, Path]
    seconds: float
    num_images: int
    curve: list[float]


@dataclass(frozen=True)
class CocoScores:
    """AP, AP50 and the AP of each class."""

    ap: float
    ap50: float
    per_class: dict[str, float]


@dataclass(frozen=True)
class Peer:
    """The tool in its environment `home`, run by `call` in `folder` on the COCO folder `data`."""

    home: Path
    call: Callable[..., str]
    folder: Path
    data: Path

    def train(
        self, model: str, *, epochs: int, seed: int, imgsz: int, batch: int, device: str
    ) -> PeerRun:
        """Trains from nothing, anew where it was stopped."""
        run = self.folder / "run"
        shutil.rmtree(run, ignore_errors=True)
        asked = {"model": f"{model}.yaml", "epochs": epochs, "seed": seed, "batch": batch}
        self._yolo("train", "run", imgsz=imgsz, device=device, **asked)
        with (run / "results.csv").open(encoding="utf-8") as file:
            rows = [{k.strip(): v for k, v in row.items()} for row in csv.DictReader(file)]
        return PeerRun(
            weights={name: run / "weights" / f"{name}.pt" for name in ("best", "last")},
            seconds=float(rows[-1]["time"]),
            num_images=len(list((self.folder / "data" / "images" / "train").iterdir())),
            curve=[round(float(row[CURVE]), 4) for row in rows],
        )

    def detect(self, weights: Path, split: str, *, imgsz: int) -> list[dict[str, Any]]:
        """Its detections on a split, as COCO results with the ids of the folder."""
        shutil.rmtree(self.folder / split, ignore_errors=True)
        self._yolo("val", split, model=weights, split=split, imgsz=imgsz, save_json=True)
        path = self.folder / split / "predictions.json"
        truth = read_truth(self.data, split)
        image_ids = {image["file_name"]: image["id"] for image in truth["images"]}
        category_ids = sorted(category["id"] for category in truth["categories"])
        return [
            {
                "image_id": image_ids[Path(found["file_name"]).name],
                "category_id": category_ids[found["category_id"] - 1],
                "bbox": found["bbox"],
                "score": found["score"],
            }
            for found in json.loads(path.read_text(encoding="utf-8"))
        ]

    def versions(self) -> dict[str, str]:
        """The versions of the tool and of torch under it."""
        names = ("ultralytics", "torch")
        code = f"import importlib.metadata as m; print(*(m.version(n) for n in {names}))"
        found = self.call(self.home / "ul" / "bin" / "python", "-c", code).split()
        return dict(zip(names, found, strict=True))

    def _yolo(self, mode: str, name: str, **settings: object) -> None:
        fixed: dict[str, object] = {"data": self._data_file, "project": self.folder, "name": name}
        fixed |= {"exist_ok": True, "plots": False, "workers": 0, "device": "cpu"}
        if mode == "train":
            fixed |= {"pretrained": False, "amp": False}
        words = [f"{key}={value}" for key, value in (fixed | settings).items()]
        env = peer_environment(self.home, self.folder)
        self.call(self.home / "ul" / "bin" / "yolo", "detect", mode, *words, env=env)

    @cached_property
    def _data_file(self) -> Path:
        """The folder in the layout that the tool reads; images are links."""
        return write_yolo_folder(self.data, self.folder / "data")


def peer_environment(home: Path, folder: Path) -> dict[str, str]:
    """What keeps the tool offline, with its settings in `folder`."""
    settings = folder / "settings"
    settings.mkdir(exist_ok=True)
    return {
        "YOLO_CONFIG_DIR": str(settings),
        "YOLO_OFFLINE": "true",
        "YOLO_AUTOINSTALL": "false",
        "MPLBACKEND": "agg",
        "LD_LIBRARY_PATH": f"{home / 'stub'}:{os.environ.get('LD_LIBRARY_PATH', '')}",
    }


def write_yolo_folder(data: Path, out: Path) -> Path:
    """Writes the labels of a COCO folder as text files beside links to its images.

    Lines are class, centre x, centre y, width, height, in shares of the image. Returns `data.yaml`.
    """
    shutil.rmtree(out, ignore_errors=True)
    splits = [s for s in SPLITS if (data / "annotations" / f"instances_{s}.json").is_file()]
    for split in splits:
        truth = read_truth(data, split)
        ids = sorted(category["id"] for category in truth["categories"])
        lines: dict[int, list[str]] = {image["id"]: [] for image in truth["images"]}
        sizes = {image["id"]: (image["width"], image["height"]) for image in truth["images"]}
        for box in truth["annotations"]:
            if box.get("iscrowd"):
                continue
            (x, y, w, h), (width, height) = box["bbox"], sizes[box["image_id"]]
            shares = ((x + w / 2) / width, (y + h / 2) / height, w / width, h / height)
            line = " ".join([str(ids.index(box["category_id"])), *(f"{s:.6f}" for s in shares)])
            lines[box["image_id"]].append(line)
        images, labels = out / "images" / split, out / "labels" / split
        images.mkdir(parents=True)
        labels.mkdir(parents=True)
        for image in truth["images"]:
            name = Path(image["file_name"])
            (images / name.name).symlink_to((data / "images" / name).resolve())
            text = "".join(f"{line}\n" for line in lines[image["id"]])
            (labels / f"{name.stem}.txt").write_text(text, encoding="utf-8")
    categories = sorted(read_truth(data, "train")["categories"], key=lambda found: found["id"])
    named = "".join(f"  {i}: {json.dumps(c['name'])}\n" for i, c in enumerate(categories))
    paths = "".join(f"{split}: images/{split}\n" for split in splits)
    file = out / "data.yaml"
    file.write_text(f"path: {out.resolve()}\n{paths}names:\n{named}", encoding="utf-8")
    return file


def read_truth(data: Path, split: str) -> dict[str, Any]:
    """The annotation file of a split."""
    path = data / "annotations" / f"instances_{split}.json"
    truth: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return truth


def coco_figures(data: Path, split: str, found: list[dict[str, Any]]) -> CocoScores:
    """Scores detections by pycocotools; nothing found scores 0."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(data / "annotations" / f"instances_{split}.json"))
        names = [truth.cats[i]["name"] for i in sorted(truth.cats)]
        if not found:
            return CocoScores(0.0, 0.0, dict.fromkeys(names, 0.0))
        scoring = COCOeval(truth, truth.loadRes(found), "bbox")
        scoring.evaluate()
        scoring.accumulate()
        scoring.summarize()
    precision = scoring.eval["precision"][:, :, :, 0, 2]  # IoUs, recalls, classes
    per_class = {}
    for index, name in enumerate(names):
        known = precision[:, :, index][precision[:, :, index] > -1]
        per_class[name] = float(known.mean()) if known.size else 0.0
    return CocoScores(float(scoring.stats[0]), float(scoring.stats[1]), per_class)
