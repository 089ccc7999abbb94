"""The checks of gpu_check.sh: every step is a verb of detkit in a process of its own."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from detkit.core.errors import BackendError
from detkit.machine.gpu import find_gpu

ABSENT = 4  # the exit code for a backend or device that is not here
IMAGE_SIZE = 320
LIBRARIES = ("tensorrt", "tensorrt-rtx")
PASSED, FAILED, NOT_CHECKED = "passed", "failed", "not checked"


class Step(Exception):  # noqa: N818
    """A verb that did not end well."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.status = NOT_CHECKED if code == ABSENT else FAILED


def detkit(folder: Path, *args: str) -> str:
    """What the verb prints on stdout."""
    command = [sys.executable, "-m", "detkit", *args]
    print("detkit", *args, file=sys.stderr)
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        lines = errors or done.stderr.splitlines()[-1:]
        raise Step(done.returncode, f"exit {done.returncode}: {' '.join(lines)}")
    return done.stdout.strip()


def train(folder: Path) -> dict[str, Any]:
    detkit(folder, "data", "synth", "--train", "64", "--val", "16", "--size", "256", "-o", "shapes")
    report = detkit(
        folder, "train", "shapes", "--model", "yolo-nas-n", "--imgsz", str(IMAGE_SIZE),
        "--epochs", "1", "--device", "cuda", "-o", "run", "--json",
    )  # fmt: skip
    detkit(folder, "reparam", "run/best.safetensors", "-o", "fused.safetensors")
    return {"images_per_s": json.loads(report)["images_per_s"]}


def torch_latency(folder: Path) -> dict[str, Any]:
    return latency(folder, "fused.safetensors")


def engine(folder: Path, library: str, precision: str) -> dict[str, Any]:
    """Built, compared with torch by the export itself, and timed."""
    name = f"{library}-{precision}.engine"
    half = ["--half"] * (precision == "fp16")
    report = detkit(
        folder, "export", "--to", library, "fused.safetensors", *half, "-o", name, "--json"
    )
    return {"difference": json.loads(report)["difference"], **latency(folder, name)}


def latency(folder: Path, model: str) -> dict[str, Any]:
    report = json.loads(detkit(folder, "bench", model, "--device", "cuda", "--json"))
    times = report["models"][0]["latency_ms"]
    return {"latency_ms": {k: times[k] for k in ("p50", "p90", "p99")}, "valid": report["valid"]}


def checks(folder: Path) -> Iterator[tuple[str, Any]]:
    """Name and function, in an order in which each finds what it needs."""
    yield "torch: one epoch of yolo-nas-n", lambda: train(folder)
    yield "torch: latency", lambda: torch_latency(folder)
    for library in LIBRARIES:
        for precision in ("fp32", "fp16"):
            yield (
                f"{library}: {precision} engine built, compared and timed",
                lambda library=library, precision=precision: engine(folder, library, precision),
            )


def main() -> int:
    try:
        gpu: Any = dataclasses.asdict(find_gpu())
        reason = ""
    except BackendError as error:
        gpu, reason = None, str(error)
        print(f"{reason}: nothing can be checked", file=sys.stderr)
    results = []
    with tempfile.TemporaryDirectory(prefix="detkit-gpu-") as name:
        for title, check in checks(Path(name)):
            start, status, why, figures = time.monotonic(), NOT_CHECKED, reason, {}
            if gpu is not None:
                try:
                    figures, status = check(), PASSED
                except Step as step:
                    status, why = step.status, str(step)
            seconds = round(time.monotonic() - start, 1)
            results.append(
                {"check": title, "status": status, "reason": why, "seconds": seconds, **figures}
            )
    print(json.dumps({"schema_version": 1, "gpu": gpu, "checks": results}, indent=2))
    return int(any(result["status"] == FAILED for result in results))


if __name__ == "__main__":
    sys.exit(main())
