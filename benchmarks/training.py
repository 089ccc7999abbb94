"""Images a second of the training step and of the loader, compared within one run.

    python benchmarks/training.py [--imgsz 320] [--batch 16] [--threads 2] [--models n s]

Rows alternate, so that a drift of the machine hits all alike; medians are printed.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from detkit.config import AugmentConfig, LossConfig, OptimConfig
from detkit.data.coco.folder import open_folder
from detkit.data.synthetic.synth import synthesize
from detkit.data.training.loader import TrainLoader
from detkit.nn.checkpoint import new_detector
from detkit.spec.zoo import ZOO, with_task
from detkit.train.loss import DetectionLoss
from detkit.train.optim import Ema, make_optimizer

ROUNDS = 5


def training_step(
    name: str, block: str, layout: torch.memory_format, args: argparse.Namespace
) -> Callable[[], None]:
    """A whole step: forward, loss, backward, optimiser, averaged weights."""
    size = (args.imgsz, args.imgsz)
    spec = with_task(dataclasses.replace(ZOO[name], block=block), 3, size)
    model = new_detector(spec, 0).train().to(memory_format=layout)  # type: ignore[call-overload]
    loss, ema = DetectionLoss(LossConfig(), size), Ema(model, 0.999)
    optimizer = make_optimizer(model, OptimConfig(lr=1e-4))
    images = torch.rand(args.batch, 3, *size).contiguous(memory_format=layout)
    count = args.batch * 15
    corners = torch.rand(count, 2) * args.imgsz * 0.7
    rows = torch.arange(args.batch).repeat_interleave(15)[:, None].float()
    classes = torch.randint(0, 3, (count, 1)).float()
    targets = torch.cat([rows, classes, corners, corners + 10 + 60 * torch.rand(count, 2)], 1)

    def step() -> None:
        loss(*model(images), targets).total.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        ema.update(model)

    return step


def seconds(run: Callable[[], object]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def measure_steps(args: argparse.Namespace) -> None:
    layouts = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
    steps = {
        (f"yolo-nas-{size}", block, layout): training_step(
            f"yolo-nas-{size}", block, layouts[layout], args
        )
        for size in args.models
        for block, layout in (
            ("qarepvgg", "channels_last"),
            ("qarepvgg", "contiguous"),
            ("repvgg", "channels_last"),
        )
    }
    times: dict[tuple[str, str, str], list[float]] = {key: [] for key in steps}
    for _ in range(ROUNDS + 1):
        for key, step in steps.items():
            times[key].append(seconds(step))
    for key, found in times.items():
        print(f"{' '.join(key):<40}{args.batch / statistics.median(found[1:]):8.1f} images/s")


def three_epochs(loader: TrainLoader) -> None:
    for epoch in (1, 2, 3):
        list(loader.epoch(epoch))


def measure_loader(args: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory(prefix="detkit-bench-") as folder:
        synthesize(Path(folder) / "coco", images={"train": 128}, size=args.imgsz, seed=0)
        split = open_folder(Path(folder) / "coco", splits=("train",)).splits["train"]
        for workers in (0, 1, 2):
            loader = TrainLoader(
                split,
                size=(args.imgsz, args.imgsz),
                augment=AugmentConfig(),
                seed=0,
                batch_size=args.batch,
                workers=workers,
                cache="on",
            )
            list(loader.epoch(0, close=False))
            spent = seconds(partial(three_epochs, loader))
            loader.close()
            images = 3 * loader.batches_per_epoch * args.batch
            print(f"{f'loader, {workers} workers':<40}{images / spent:8.1f} images/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--imgsz", type=int, default=320)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--models", nargs="+", default=["n", "s"])
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    measure_steps(args)
    measure_loader(args)


if __name__ == "__main__":
    main()
