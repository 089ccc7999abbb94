"""The peer's half of `training.py`, run by the Python of its environment (see `peers`).

    $PEERS/ul/bin/python training_peer.py DATA.yaml THREADS

Answers `step MODEL IMGSZ BATCH` and `loader IMGSZ BATCH WORKERS` (see `answering`). As the peer
trains on a CPU: no mixed precision, images decoded once and kept, its own augmentation.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import ultralytics.utils.torch_utils
from answering import answer_lines
from ultralytics.cfg import get_cfg
from ultralytics.data import build_dataloader, build_yolo_dataset
from ultralytics.data.utils import check_det_dataset
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils import DEFAULT_CFG

LOADER_EPOCHS = 2


def settings(imgsz: int) -> Any:
    return get_cfg(DEFAULT_CFG, {"imgsz": imgsz, "data": sys.argv[1], "cache": "ram"})


@cache
def loader(imgsz: int, batch: int, workers: int) -> Any:
    data = check_det_dataset(sys.argv[1])
    dataset = build_yolo_dataset(settings(imgsz), data["train"], batch, data, mode="train")
    made = build_dataloader(dataset, batch, workers, shuffle=True, rank=-1)
    sum(len(found["img"]) for found in made)  # its images are decoded now, its workers begun
    return made


def loading(imgsz: int, batch: int, workers: int) -> Callable[[], int]:
    """Batches as its trainer takes them: floats from 0 to 1."""
    made = loader(imgsz, batch, workers)
    return lambda: sum(
        len(found["img"].float() / 255) for _ in range(LOADER_EPOCHS) for found in made
    )


@cache
def stepping(name: str, imgsz: int, batch: int) -> Callable[[], int]:
    found = next(iter(loader(imgsz, batch, 0)))
    found["img"] = found["img"].float() / 255
    model = DetectionModel(f"{name}.yaml", nc=int(found["cls"].max()) + 1, verbose=False)
    model.args = settings(imgsz)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4)
    average = ultralytics.utils.torch_utils.ModelEMA(model)

    def step() -> int:
        loss, _ = model(found)
        loss.sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        optimizer.zero_grad()
        average.update(model)
        return len(found["img"])

    step()
    return step


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[2]))
    answer_lines({"step": stepping, "loader": loading})
