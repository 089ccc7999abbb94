"""kill -9 and the signals, on the real command in its own process."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch

from detkit.nn.checkpoint import load_checkpoint
from fixtures.processes import DETKIT, StartProcess, ending_processes

FLAGS = "--model yolo-nas-p --init none --imgsz 64 --epochs 3".split()
FLAGS += "--batch 4 --threads 1 --device cpu".split()
SETTINGS = ["--set", "workers=1", "--set", "checkpoint_minutes=0"]
KILLS_S = (0.3, 0.9, 1.7)  # after the first state was written; a run takes about 4 s


def command(shapes: Path, out: Path, *extra: str) -> list[str]:
    return [*DETKIT, "train", str(shapes), *FLAGS, *SETTINGS, "-o", str(out), *extra]


def wait_for_state(out: Path) -> None:
    for _ in range(600):
        if (out / "state" / "state.safetensors").is_file():
            return
        time.sleep(0.05)
    raise AssertionError("no state was written within 30 s")


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    stdout, stderr = process.communicate(timeout=120)
    return process.returncode, stdout, stderr


@pytest.fixture(scope="module")
def whole(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The uninterrupted run."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    with ending_processes() as start:
        code, stdout, stderr = finish(start(*command(shapes, out)))
    assert code == 0, stderr
    assert stdout == f"{out}/best.safetensors\n"
    return out


def assert_same_weights(one: Path, other: Path) -> None:
    for name in ("best.safetensors", "last.safetensors"):
        a, b = (load_checkpoint(run / name)[0].state_dict() for run in (one, other))
        assert all(torch.equal(a[key], b[key]) for key in a), name


def test_killed_at_several_points_and_resumed_ends_in_the_same_weights(
    start_process: StartProcess, shapes: Path, whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "killed"
    killed = 0
    extra: tuple[str, ...] = ()
    for delay in KILLS_S:
        process = start_process(*command(shapes, out, *extra))
        wait_for_state(out)
        time.sleep(delay if not extra else delay + 2)  # a resumed process starts up first
        killed += process.poll() is None
        process.kill()
        finish(process)
        extra = ("--resume",)
    code, _, stderr = finish(start_process(*command(shapes, out, "--resume")))
    assert code == 0, stderr
    assert killed >= 1
    assert_same_weights(whole, out)
    assert not list(out.glob(".*partial*"))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_exits(
    start_process: StartProcess, shapes: Path, whole: Path, tmp_path: Path, number: int, code: int
) -> None:
    out = tmp_path / "stopped"
    process = start_process(*command(shapes, out))
    wait_for_state(out)
    process.send_signal(number)
    ended, stdout, stderr = finish(process)
    assert ended == code, stderr
    assert stdout in ("", f"{out}/best.safetensors\n", f"{out}/last.safetensors\n")
    assert f"detkit train -o {out} --resume" in stderr
    if number == signal.SIGINT:
        return
    resumed = subprocess.run(
        [*DETKIT, "train", "-o", str(out), "--resume"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert resumed.returncode == 0, resumed.stderr
    assert_same_weights(whole, out)
