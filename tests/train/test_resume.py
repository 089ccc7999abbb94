"""kill -9 and the signals, on the real command in its own process."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch

from detkit.nn.checkpoint import load_checkpoint
from fixtures.command_line import Detkit, StartFork
from fixtures.interrupted import PATIENCE_SECONDS, signal_within_an_epoch

FLAGS = "--model yolo-nas-p --init none --imgsz 64 --epochs 3".split()
FLAGS += "--batch 2 --threads 1 --device cpu".split()
FLAGS += ["--set", "workers=1", "--set", "checkpoint_minutes=0"]
STOPS = (
    (signal.SIGKILL, -9),
    (signal.SIGTERM, 143),
    (signal.SIGKILL, -9),
    (signal.SIGINT, 130),
)


@pytest.fixture
def whole(fork: Detkit, shapes: Path, tmp_path: Path) -> Path:
    """The uninterrupted run."""
    out = tmp_path / "whole"
    done = fork("train", str(shapes), *FLAGS, "-o", str(out))
    assert (done.returncode, done.stdout) == (0, f"{out}/best.safetensors\n"), done.stderr
    return out


def test_kills_and_signals_within_an_epoch_lose_nothing(
    start_fork: StartFork, shapes: Path, whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "stopped"
    process = start_fork("train", str(shapes), *FLAGS, "-o", str(out))
    for number, code in STOPS:
        stdout, stderr = signal_within_an_epoch(process, out, number)
        assert process.returncode == code, stderr
        assert stdout in ("", f"{out}/best.safetensors\n", f"{out}/last.safetensors\n")
        assert (f"detkit train -o {out} --resume" in stderr) == (code > 0)
        process = start_fork("train", "-o", str(out), "--resume")
    stdout, stderr = process.communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, stdout) == (0, f"{out}/best.safetensors\n"), stderr
    for name in ("best.safetensors", "last.safetensors"):
        a, b = (load_checkpoint(run / name)[0].state_dict() for run in (whole, out))
        assert all(torch.equal(a[key], b[key]) for key in a), name
    assert not list(out.glob(".*partial*"))
