"""The checks of gpu_check.sh: every one is a process of its own, ended when the time is over."""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from detkit.core.errors import BackendError
from detkit.machine.gpu import find_gpu

ABSENT = 4  # the exit code for a backend or device that is not here
LIBRARIES = ("tensorrt", "tensorrt-rtx")
BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
PASSED, FAILED, NOT_CHECKED = "passed", "failed", "not checked"
COPY_BYTES, RUNS = 1 << 26, 10
Figures = dict[str, Any]


class CheckError(Exception):
    """A check that did not end well; `status` says whether something failed or is not here."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True)
class Plan:
    """On what, how large, and until when (a reading of `time.monotonic`)."""

    folder: Path
    device: str
    is_quick: bool
    deadline: float

    @property
    def model(self) -> str:
        return "yolo-nas-p" if self.is_quick else "yolo-nas-n"

    @property
    def imgsz(self) -> int:
        return 64 if self.is_quick else 320

    def run(self, *command: str) -> str:
        """Runs Python with these arguments; what it prints on stdout.

        Raises:
            CheckError: it failed, what it needs is not here, or the time is over.
        """
        left = self.deadline - time.monotonic()
        try:
            done = subprocess.run(
                [sys.executable, *command],
                cwd=self.folder,
                capture_output=True,
                text=True,
                timeout=max(left, 0.001),
            )
        except subprocess.TimeoutExpired as error:
            raise CheckError(NOT_CHECKED, "no time left: --minutes allows more") from error
        if done.returncode:
            errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
            lines = errors or done.stderr.splitlines()[-1:]
            status = NOT_CHECKED if done.returncode == ABSENT else FAILED
            raise CheckError(status, f"exit {done.returncode}: {' '.join(lines)}")
        return done.stdout.strip()

    def detkit(self, *args: str) -> str:
        print("detkit", *args, file=sys.stderr)
        return self.run("-m", "detkit", *args)

    def need(self, *files: str) -> None:
        """Checks that earlier checks made these files.

        Raises:
            CheckError: one is missing.
        """
        for file in files:
            if not (self.folder / file).exists():
                raise CheckError(NOT_CHECKED, f"{file} was not made: see the checks before")

    def part(self, name: str, *args: str) -> Figures:
        """A check below that is not a verb, in a process of its own."""
        words = ["--part", name, "--device", self.device, *["--quick"] * self.is_quick]
        found: Figures = json.loads(self.run(str(Path(__file__).resolve()), *words, *args))
        return found


# --- checks that are verbs -----------------------------------------------------------------------


def train(plan: Plan, out: str, *launch: str) -> Figures:
    """One epoch in mixed precision: bfloat16 where the GPU has it."""
    if not (plan.folder / "shapes").exists():
        counts = ("16", "8") if plan.is_quick else ("64", "16")
        words = ("--train", counts[0], "--val", counts[1], "--size", str(plan.imgsz))
        plan.detkit("data", "synth", *words, "-o", "shapes")
    report = plan.run(
        *launch, "-m", "detkit", "train", "shapes", "--model", plan.model, "--init", "none",
        "--imgsz", str(plan.imgsz), "--epochs", "1", "--device", plan.device,
        "--set", "amp=on", "-o", out, "--json", "-q",
    )  # fmt: skip
    return {"images_per_s": json.loads(report)["images_per_s"]}


def fuse(plan: Plan) -> Figures:
    """The file that float engines are made of, untrained where there was no training."""
    trained = "run/best.safetensors"
    if not (plan.folder / trained).exists():
        trained = plan.part("untrained", "--file", "untrained.safetensors")["file"]
    plan.detkit("reparam", trained, "-o", "fused.safetensors")
    return {"from": trained, **latency(plan, "fused.safetensors")}


def quantize(plan: Plan) -> Figures:
    plan.need("fused.safetensors", "shapes")
    words = ("--images", "16", "--set", "eval_images=8", "--set", "noise_images=8")
    options = ("--device", plan.device, "-o", "int8.safetensors", "--json", "-q")
    report = plan.detkit(
        "quantize", "--int8", "fused.safetensors", "--data", "shapes", *words, *options
    )
    return {"drop": json.loads(report)["drop"]}


def engine(plan: Plan, library: str, form: str) -> Figures:
    """Built, compared with torch by the export itself, and timed."""
    name = f"{library}-{form}.engine"
    source = "int8.safetensors" if form == "int8" else "fused.safetensors"
    plan.need(source)
    options = {"fp16": ("--half",), "uint8": ("--uint8",)}.get(form, ())
    report = plan.detkit("export", "--to", library, source, *options, "-o", name, "--json", "-q")
    return {"difference": json.loads(report)["difference"], **latency(plan, name)}


def graph(plan: Plan, name: str) -> Figures:
    plan.need(name)
    return plan.part("graph", "--file", name)


def latency(plan: Plan, model: str) -> Figures:
    """By the device's own clock where the engine has one (`clock`); copies beside it."""
    words = ("--seconds", "0", "--runs", "10") if plan.is_quick else ()
    report = json.loads(plan.detkit("bench", model, "--device", plan.device, *words, "--json"))
    (row,) = report["models"]
    times = {name: row["latency_ms"][name] for name in ("p50", "p90", "p99")}
    others = {name: row.get(name) for name in ("clock", "upload_ms", "download_ms", "wall_ms")}
    return {"latency_ms": times, **others, "valid": report["valid"]}


# --- checks in a process of their own ------------------------------------------------------------


def step_times(device: str, is_quick: bool) -> Figures:
    """Images a second of training steps: float32, mixed precision, and that compiled."""
    import torch

    sys.path.insert(0, str(BENCHMARKS))
    from stepping import training_step

    from detkit.train.batch_memory import drawn_labels
    from detkit.train.precision import half_type

    name, side, batch = ("yolo-nas-p", 64, 2) if is_quick else ("yolo-nas-n", 320, 16)
    ways = {"fp32": ("off", False), "mixed": ("on", False), "compiled": ("on", True)}
    if is_quick:
        del ways["compiled"]  # a compiler takes minutes on a CPU
    found: Figures = {"half_type": str(half_type("on", torch.device(device)))}
    for way, (amp, compiled) in ways.items():
        images = torch.rand(batch, 3, side, side, device=device)
        labels = drawn_labels(batch, 80, (side, side))
        step = training_step(name, images, labels, classes=80, amp=amp, compiled=compiled)
        found[f"{way}_images_per_s"] = round(batch / _median_seconds(step, device), 1)
    return found


def copy_rates(device: str, is_quick: bool) -> Figures:
    """GB/s to and from the GPU, of memory that may be paged out and of memory that may not."""
    import torch

    if not device.startswith("cuda"):
        raise BackendError("a CPU has no memory of its own to copy to")
    there = torch.empty(COPY_BYTES, dtype=torch.uint8, device=device)
    found: Figures = {}
    for kind, pinned in (("pageable", False), ("pinned", True)):
        here = torch.empty(COPY_BYTES, dtype=torch.uint8, pin_memory=pinned)
        up = _median_seconds(partial(there.copy_, here, non_blocking=True), device)
        down = _median_seconds(partial(here.copy_, there, non_blocking=True), device)
        found[f"{kind}_gb_per_s"] = [round(COPY_BYTES / s / 1e9, 2) for s in (up, down)]
    return found


def untrained(path: Path, is_quick: bool) -> Figures:
    """A fresh network, for a machine that cannot train."""
    from detkit.artifact.artifact import Manifest
    from detkit.nn.checkpoint import new_detector, save_checkpoint
    from detkit.spec.preprocess import Preprocess
    from detkit.spec.zoo import find_arch, with_task

    name, side = ("yolo-nas-p", 64) if is_quick else ("yolo-nas-n", 320)
    spec = with_task(find_arch(name), 3, (side, side))
    preprocess = Preprocess(size=(side, side), fit=(side, side))
    manifest = Manifest(
        kind="checkpoint", arch=spec, class_names=("a", "b", "c"), preprocess=preprocess
    )
    save_checkpoint(path, new_detector(spec, 0), manifest)
    return {"file": path.name}


def graph_launch(path: Path, device: str) -> Figures:
    """An engine's first run, which is no graph, beside later ones, which are one CUDA graph."""
    import numpy as np

    from detkit.engines.opening import open_session
    from detkit.runtime.session import SessionOptions

    session: Any = open_session(path, session_options=SessionOptions(device=device))
    height, width = session.manifest.preprocess.size
    images = np.random.default_rng(0).random((1, 3, height, width), dtype=np.float32)
    plain = [output.copy() for output in session.run(images)]
    plain_ms = session.runner.last_times.compute
    for _ in range(RUNS):
        graphed = session.run(images)
    if any(not np.array_equal(a, b) for a, b in zip(plain, graphed, strict=True)):
        raise SystemExit("error: the graph gives other outputs")
    times = session.runner.last_times
    copies = {"upload_ms": times.upload, "download_ms": times.download}
    back_end = type(session.runner._device).__name__
    return {"first_ms": plain_ms, "graph_ms": times.compute, **copies, "memory_by": back_end}


def _median_seconds(run: Callable[[], object], device: str) -> float:
    import torch

    def once() -> float:
        began = time.perf_counter()
        run()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        return time.perf_counter() - began

    for _ in range(3):
        once()
    return statistics.median(once() for _ in range(RUNS))


PARTS: dict[str, Callable[[argparse.Namespace], Figures]] = {
    "steps": lambda args: step_times(args.device, args.quick),
    "copies": lambda args: copy_rates(args.device, args.quick),
    "graph": lambda args: graph_launch(args.file, args.device),
    "untrained": lambda args: untrained(args.file, args.quick),
}


# --- all of them ---------------------------------------------------------------------------------


def checks(plan: Plan) -> Iterator[tuple[str, Callable[[], Figures]]]:
    """Name and function, in an order in which each finds what it needs."""
    launch = ("-m", "torch.distributed.run", "--nproc-per-node", "1")
    yield f"torch: one epoch of {plan.model}, mixed precision", lambda: train(plan, "run")
    yield "torch: training steps in fp32, mixed and compiled", lambda: plan.part("steps")
    yield "torch: one epoch by torchrun, one process", lambda: train(plan, "ddp", *launch)
    yield "torch: fused, and its latency", lambda: fuse(plan)
    yield "copies of pageable and of pinned memory", lambda: plan.part("copies")
    for library in LIBRARIES:
        for form in ("fp32", "fp16", "uint8"):
            yield _title(library, form), partial(engine, plan, library, form)
        yield f"{library}: CUDA graph", partial(graph, plan, f"{library}-fp32.engine")
    yield "quantized to INT8", lambda: quantize(plan)
    for library in LIBRARIES:
        yield _title(library, "int8"), partial(engine, plan, library, "int8")


def _title(library: str, form: str) -> str:
    return f"{library}: {form} engine built, compared and timed"


def results_of(plan: Plan, reason: str) -> Iterator[Figures]:
    """Makes the checks; with a `reason` none of them."""
    for title, check in checks(plan):
        start, status, why, figures = time.monotonic(), NOT_CHECKED, reason, {}
        if not reason:
            try:
                figures, status = check(), PASSED
            except CheckError as error:
                status, why = error.status, str(error)
        seconds = round(time.monotonic() - start, 1)
        yield {"check": title, "status": status, "reason": why, "seconds": seconds, **figures}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=8.0, help="time for all of it")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N, or cpu to try the script")
    parser.add_argument("--quick", action="store_true", help="a tiny network and few images")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part:
        try:
            print(json.dumps(PARTS[args.part](args)))
        except BackendError as error:
            print(f"error: {error}", file=sys.stderr)
            return ABSENT
        return 0
    gpu, reason = None, ""
    if args.device != "cpu":
        try:
            gpu = dataclasses.asdict(find_gpu())
        except BackendError as error:
            reason = str(error)
            print(f"{reason}: nothing can be checked", file=sys.stderr)
    deadline = time.monotonic() + 60 * args.minutes
    with tempfile.TemporaryDirectory(prefix="detkit-gpu-") as name:
        results = list(results_of(Plan(Path(name), args.device, args.quick, deadline), reason))
    print(json.dumps({"schema_version": 2, "gpu": gpu, "checks": results}, indent=2))
    return int(any(result["status"] == FAILED for result in results))


if __name__ == "__main__":
    sys.exit(main())
