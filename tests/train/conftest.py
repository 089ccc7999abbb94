"""A COCO folder of a few synthetic images, and the smallest run on it."""

from __future__ import annotations

from pathlib import Path

import pytest

from detkit.config import TrainConfig, resolve
from detkit.data.synthetic.synth import synthesize


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16 training and 4 validation images of 96 px."""
    folder = tmp_path_factory.mktemp("shapes") / "coco"
    synthesize(folder, images={"train": 16, "val": 4}, size=96, seed=3)
    return folder


@pytest.fixture
def config(shapes: Path) -> TrainConfig:
    """Two epochs of yolo-nas-p from scratch at 64 px, four batches each."""
    return resolve(
        TrainConfig,
        flags={
            "data": str(shapes),
            "model": "yolo-nas-p",
            "init": "none",
            "imgsz": "64",
            "epochs": 2,
            "batch": 4,
            "workers": 0,
            "threads": 1,
            "device": "cpu",
        },
    )
