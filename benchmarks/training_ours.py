"""Our half of `training.py`: answers lines as `training_peer.py` does.

    python training_ours.py DATA THREADS

A step is the one that `detkit train` makes here by itself: mixed precision where it pays.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from answering import answer_lines
from stepping import training_step

from detkit.config import AugmentConfig
from detkit.core.memory import keep_freed_memory
from detkit.data.coco.folder import open_folder
from detkit.data.training.loader import TrainLoader

LOADER_EPOCHS = 2
CPU = torch.device("cpu")


@cache
def loader(imgsz: int, batch: int, workers: int) -> TrainLoader:
    split = open_folder(Path(sys.argv[1]), splits=("train",)).splits["train"]
    made = TrainLoader(
        split,
        size=(imgsz, imgsz),
        augment=AugmentConfig(),
        seed=0,
        batch_size=batch,
        workers=workers,
        cache="on",
    )
    list(made.epoch(0))
    return made


def loading(imgsz: int, batch: int, workers: int) -> Callable[[], int]:
    """Batches as a step takes them: floats of the colours that were drawn."""
    made = loader(imgsz, batch, workers)
    return lambda: sum(
        len(found.images_on(CPU)) for epoch in range(LOADER_EPOCHS) for found in made.epoch(epoch)
    )


@cache
def stepping(name: str, imgsz: int, batch: int) -> Callable[[], int]:
    found = next(iter(loader(imgsz, batch, 0).epoch(0)))
    classes = int(found.labels.boxes[:, 1].max()) + 1
    step = training_step(name, found.images_on(CPU), found.labels, classes=classes)
    step()
    return step


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[2]))
    keep_freed_memory()
    answer_lines({"step": stepping, "loader": loading})
