"""What training and a deployed network take on this machine's GPU.

    python benchmarks/gpu.py [-o results/gpu-NAME.json]
    python benchmarks/gpu.py --device cpu --quick       # that the script runs

Rows, in under eight minutes on a recent GPU:

    step      images a second and peak memory of a whole training step of yolo-nas-n, s and m at
              640 px: fp32 without TF32, mixed precision, and that compiled by torch
    loader    images a second of augmented batches at 640 px by all CPUs, and the share of its time
              that training yolo-nas-n waits for them
    forward   milliseconds of the deployed network in torch, batches of 1 and 32, fp32 and half
    train     AP of yolo-nas-n after three epochs on drawn images, on this device and on the CPU,
              two seeds each: their difference is to be within that of the seeds
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean, median

import torch
from rows import Row, add_out_argument, show_rows
from stepping import training_step

from detkit.config import AugmentConfig
from detkit.data.coco.folder import open_folder
from detkit.data.synthetic.synth import synthesize
from detkit.data.training.loader import TrainLoader
from detkit.nn.checkpoint import new_detector
from detkit.nn.detector import fuse
from detkit.spec.zoo import find_arch, with_task
from detkit.train.batch_memory import drawn_labels

CLASSES = 80
SEEDS = (0, 1)
WARMUP, RUNS = 3, 10


@dataclass(frozen=True)
class Plan:
    """How much is measured: all of it, or as much as shows that the script runs."""

    device: torch.device
    models: tuple[str, ...]
    imgsz: int
    batch: int
    train_images: int
    ways: int  # of the step: a compiler takes minutes on a CPU

    @classmethod
    def of(cls, args: argparse.Namespace) -> Plan:
        device = torch.device(args.device)
        if args.quick:
            return cls(device, ("yolo-nas-p",), imgsz=64, batch=2, train_images=32, ways=2)
        models = ("yolo-nas-n", "yolo-nas-s", "yolo-nas-m")
        return cls(device, models, imgsz=640, batch=16, train_images=1024, ways=3)


def seconds_a_run(device: torch.device, run: Callable[[], object]) -> float:
    """The median of some runs, each to the end of what it has the device do."""

    def once() -> float:
        began = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began

    for _ in range(WARMUP):
        once()
    return median(once() for _ in range(RUNS))


# --- the training step ---------------------------------------------------------------------------


def steps(plan: Plan) -> Iterator[Row]:
    ways = (("fp32", "off", False), ("mixed", "auto", False), ("mixed, compiled", "auto", True))
    for name in plan.models:
        for called, amp, compiled in ways[: plan.ways]:
            images = torch.rand(plan.batch, 3, plan.imgsz, plan.imgsz, device=plan.device)
            images = images.contiguous(memory_format=torch.channels_last)
            labels = drawn_labels(plan.batch, CLASSES, (plan.imgsz, plan.imgsz))
            if plan.device.type == "cuda":
                torch.cuda.reset_peak_memory_stats()
            row: Row = {"what": "step", "model": name, "imgsz": plan.imgsz, "batch": plan.batch}
            began = time.perf_counter()
            try:
                step = training_step(
                    name, images, labels, classes=CLASSES, amp=amp, compiled=compiled
                )
                step()
                first = time.perf_counter() - began
                spent = seconds_a_run(plan.device, step)
            except Exception as error:  # a compiler that is not there, memory that is not enough
                reason = str(error).strip().splitlines()[0] if str(error).strip() else ""
                yield {**row, "way": called, "failed": f"{type(error).__name__}: {reason}"[:200]}
                continue
            row |= {"way": called, "images_per_s": round(plan.batch / spent, 1)}
            row["first_step_s"] = round(first, 1)
            if plan.device.type == "cuda":
                row["memory_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
            yield row
            torch.compiler.reset()


# --- the loader ----------------------------------------------------------------------------------


def loaders(plan: Plan, data: Path) -> Iterator[Row]:
    split = open_folder(data, splits=("train",)).splits["train"]
    workers = max((os.cpu_count() or 2) - 1, 1)
    loader = TrainLoader(
        split,
        size=(plan.imgsz, plan.imgsz),
        augment=AugmentConfig(),
        seed=0,
        batch_size=plan.batch,
        workers=workers,
        cache="on",
    )
    list(loader.epoch(0))
    began = time.perf_counter()
    images = sum(len(batch.images_on(plan.device)) for e in (1, 2) for batch in loader.epoch(e))
    spent = time.perf_counter() - began
    loader.close()
    yield {
        "what": "loader",
        "imgsz": plan.imgsz,
        "workers": workers,
        "images_per_s": round(images / spent, 1),
    }


# --- the deployed network ------------------------------------------------------------------------


def forwards(plan: Plan) -> Iterator[Row]:
    for name in plan.models:
        spec = with_task(find_arch(name), CLASSES, (plan.imgsz, plan.imgsz))
        network = fuse(new_detector(spec, 0)).to(plan.device)
        network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for called, dtype in (("fp32", torch.float32), ("fp16", torch.float16)):
            forward = torch.inference_mode()(network.to(dtype).forward)
            for batch in (1, 32 if plan.batch > 2 else 2):
                images = torch.rand(batch, 3, plan.imgsz, plan.imgsz, device=plan.device)
                images = images.to(dtype, memory_format=torch.channels_last)
                spent = seconds_a_run(plan.device, partial(forward, images))
                row: Row = {"what": "forward", "model": name, "imgsz": plan.imgsz}
                yield {**row, "precision": called, "batch": batch, "ms": round(spent * 1e3, 3)}


# --- a short training ----------------------------------------------------------------------------


def trainings(plan: Plan, data: Path, work: Path) -> Iterator[Row]:
    found: dict[str, list[float]] = {}
    for device in dict.fromkeys((str(plan.device), "cpu")):
        for seed in SEEDS:
            words = ["train", data, "--model", plan.models[0], "--init", "none", "--imgsz", 128]
            words += ["--epochs", 3, "--batch", 16, "--seed", seed, "--device", device]
            words += ["-o", work / f"{device.replace(':', '')}-{seed}", "--json", "-q"]
            command = [sys.executable, "-m", "detkit", *map(str, words)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                yield {"what": "train", "device": device, "failed": done.stderr.strip()[-300:]}
                continue
            report = json.loads(done.stdout)
            found.setdefault(device, []).append(report["ap"])
            keys = ("ap", "images_per_s", "data_wait_share", "seconds")
            yield {"what": "train", "device": device, **{key: report[key] for key in keys}}
    if len(found) == 2:
        ours, cpu = (mean(aps) for aps in found.values())
        spread = max(max(aps) - min(aps) for aps in found.values())
        row: Row = {"what": "train", "difference": round(abs(ours - cpu), 4)}
        yield {**row, "spread_of_seeds": round(spread, 4)}


# --- the command line ----------------------------------------------------------------------------


def rows_of(plan: Plan, work: Path) -> Iterator[Row]:
    large, small = work / "large", work / "small"
    counts = {"train": plan.train_images, "val": max(plan.train_images // 4, 8)}
    synthesize(large, images={"train": min(plan.train_images, 256)}, size=plan.imgsz, seed=0)
    synthesize(small, images=counts, size=128, seed=0)
    yield from steps(plan)
    yield from loaders(plan, large)
    yield from forwards(plan)
    yield from trainings(plan, small, work)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="tiny networks and images")
    add_out_argument(parser)
    args = parser.parse_args()
    if args.device != "cpu" and not torch.cuda.is_available():
        raise SystemExit("no CUDA GPU here; --device cpu --quick tries the script")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    plan = Plan.of(args)
    with tempfile.TemporaryDirectory(prefix="detkit-gpu-") as work:
        name = "cpu" if args.device == "cpu" else torch.cuda.get_device_name()
        show_rows(rows_of(plan, Path(work)), "gpu", args.out, device=name, torch=torch.__version__)


if __name__ == "__main__":
    main()
