"""What a training shows: a bar on a terminal, plain lines everywhere else."""

from __future__ import annotations

import dataclasses
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Callable
from typing import Any

import pytest

from detkit.train.progress import TrainProgress

COLUMNS = 80
SHOW = """
import json, sys
from detkit.cli import console
from detkit.cli.training_output import training_progress
from detkit.train.progress import TrainProgress

with training_progress() as on_progress:
    for fields in json.loads(sys.argv[1]):
        on_progress(TrainProgress(**fields))
        console.log("a line of the log")
print("data")
"""
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[str, str]]:
    """What a terminal of 80 columns gets on stderr, and what stdout gets."""
    monkeypatch.setenv("TERM", "xterm-256color")

    def run(*steps: dict[str, Any]) -> tuple[str, str]:
        import json

        outer, inner = pty.openpty()
        fcntl.ioctl(outer, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
        command = [sys.executable, "-c", SHOW, json.dumps(steps)]
        process = subprocess.Popen(
            command, stdin=inner, stdout=subprocess.PIPE, stderr=inner, text=True
        )
        os.close(inner)
        parts = []
        while part := _read(outer):
            parts.append(part)
        os.close(outer)
        stdout, _ = process.communicate(timeout=60)
        assert process.returncode == 0, b"".join(parts)
        return b"".join(parts).decode(), stdout

    return run


def _read(terminal: int) -> bytes:
    """What there is to read; nothing once the other side is closed, which Linux calls an error."""
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""


def step(**fields: Any) -> dict[str, Any]:
    long = TrainProgress(
        epoch=1299,
        epochs=1300,
        batch=14785,
        batches=14786,
        loss=12.345,
        loss_cls=1.0,
        loss_iou=1.0,
        loss_dfl=1.0,
        lr=1e-3,
        images_per_s=1234.5,
        data_wait_share=1.0,
        eta_s=359999,
    )
    return dataclasses.asdict(dataclasses.replace(long, **fields))


def test_a_terminal_has_a_bar_of_its_width_and_a_short_line_an_epoch(
    shown: Callable[..., tuple[str, str]],
) -> None:
    steps = (step(), step(scored=8, to_score=5000), step(ap=0.1234, ap50=0.2345, detections=9))
    stderr, stdout = shown(*steps)
    assert stdout == "data\n"
    lines = [line for line in re.split(r"[\r\n]+", ESCAPES.sub("", stderr)) if line.strip()]
    assert max(map(len, lines)) == COLUMNS
    (bar,) = {line for line in lines if "14785/14786 loss 12.345" in line}
    assert (bar[:15], bar[-12:]) == ("epoch 1299/1300", "eta 99:59:59")
    assert "\u2501" in bar
    assert any("8/5000 images validated" in line for line in lines)
    result = "epoch 1299/1300  loss 12.345  AP 0.1234 AP50 0.2345  1234.5 img/s  eta 99:59:59"
    assert result in lines
    assert lines.count("a line of the log") == 3


@pytest.mark.parametrize("variable", [("CI", "true"), ("TERM", "dumb")])
def test_no_bar_in_ci(
    shown: Callable[..., tuple[str, str]],
    variable: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(*variable)
    stderr, _ = shown(step(), step(ap=0.1, ap50=0.2, detections=9))
    assert "\x1b" not in stderr
    first, line, second = stderr.split("\r\n")[:3]
    assert first == second == "a line of the log"
    assert line.startswith("epoch 1299/1300 14785/14786  loss 12.345 (cls 1.000")
