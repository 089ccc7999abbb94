"""Processes that torchrun launches, one of which is killed."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from detkit.cli.app import main
from fixtures.command_line import Detkit
from fixtures.interrupted import PATIENCE_SECONDS, reached_in
from fixtures.processes import StartProcess
from fixtures.several_ranks import torchrun_environment

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
FLAGS = "--model yolo-nas-p --init none --imgsz 64 --epochs 2 --batch 4 --device cpu".split()
FLAGS += "--threads 1 --set workers=1 --set sync_bn=off --set checkpoint_minutes=0".split()


def processes_of(run: Path) -> list[tuple[int, int, str]]:
    """Id, parent and rank ("" of torchrun) of all processes that train in a folder."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            variables = (folder / "environ").read_text(errors="replace").split("\0")
            parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:  # it has ended, or is another user's
            continue
        if str(run).encode() in words:
            rank = next((text[5:] for text in variables if text.startswith("RANK=")), "")
            found.append((int(folder.name), parent, rank))
    return found


def test_where_one_is_killed_the_others_end_with_one_error_and_resume_goes_on(
    start_process: StartProcess, fork: Detkit, shapes: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    command = (*TORCHRUN, "-m", "detkit", "train", str(shapes), *FLAGS, "-o", str(run))
    process, end = start_process(*command), time.monotonic() + PATIENCE_SECONDS
    while reached_in(run) < (0, 2):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.01)
    (victim,) = [
        pid for pid, parent, rank in processes_of(run) if (parent, rank) == (process.pid, "1")
    ]
    os.kill(victim, signal.SIGKILL)
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (1, ""), stderr
    errors = [line for line in stderr.splitlines() if line.startswith("error: ")]
    assert errors == ["error: a process of this run ended or cannot be reached, so all end"], stderr
    assert stderr.count("run folder: ") == 1
    while processes_of(run):  # those that prepare images end with their parents
        assert time.monotonic() < end
        time.sleep(0.05)
    done = fork("train", "-o", str(run), "--resume")
    assert (done.returncode, done.stdout) == (0, f"{run}/best.safetensors\n"), done.stderr
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 2


@pytest.mark.parametrize("rank", [0, 1])
def test_a_verb_that_one_process_does_is_refused_by_the_first_alone(
    rank: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in torchrun_environment(rank, 2, 1).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("detkit.cli.console._volume.silent", False)
    assert main(["info", "best.safetensors"]) == 2
    said = capsys.readouterr()
    refusal = "error: detkit info is done by one process, and torchrun launched 2\n"
    assert said.err.startswith(refusal) if rank == 0 else said.err == ""
    assert said.out == ""
