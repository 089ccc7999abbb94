"""Streams that are closed, broken or full: told once, on the right stream, and never a bug."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from fixtures.processes import DETKIT

Shell = Callable[[str], "subprocess.CompletedProcess[str]"]


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """`shell("detkit ARGS >&-")` as typed in bash, in a folder of its own."""

    def run(line: str) -> subprocess.CompletedProcess[str]:
        script = 'words=("$@"); detkit() { "${words[@]}" "$@"; }\n'
        command = ["bash", "-c", script + line, "bash", *DETKIT]
        return subprocess.run(
            command, capture_output=True, encoding="utf-8", timeout=60, cwd=tmp_path
        )

    return run


def test_data_that_cannot_be_delivered_is_an_error_on_stderr(shell: Shell) -> None:
    for line, reason in (
        ("detkit --version >&-", "it is closed"),
        ("detkit --version >/dev/full", "No space left on device"),
        ("detkit data >&-", "it is closed"),
    ):
        done = shell(line)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == f"error: cannot write to stdout: {reason}\n"


def test_help_that_typer_writes_is_no_other_matter(shell: Shell) -> None:
    for target in (">&-", ">/dev/full"):
        done = shell(f"detkit info --help {target}")
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("error: ")
        assert done.stderr.count("\n") == 1


def test_without_stderr_errors_are_an_exit_code_alone(shell: Shell) -> None:
    for target in ("2>&-", "2>/dev/full"):
        done = shell(f"detkit info absent.onnx {target}")
        assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
        done = shell(f"detkit --version {target}")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("detkit ")


def test_a_file_takes_the_place_of_no_stream(shell: Shell, tmp_path: Path) -> None:
    done = shell("detkit data synth -o s --train 1 --val 0 --test 0 --size 32 <&- >&- 2>&-")
    assert done.returncode == 1  # the path could not be printed; what was asked for is there
    assert (tmp_path / "s" / "images" / "train" / "000001.jpg").read_bytes()[-2:] == b"\xff\xd9"
    assert (tmp_path / "s" / "annotations" / "instances_train.json").read_text()[-2:] == "}\n"


def test_a_reader_of_the_log_that_leaves_does_not_end_the_work(
    shell: Shell, tmp_path: Path
) -> None:
    line = "detkit data synth -o s --train 2 --val 0 --test 0 --size 32 2> >(exec true)"
    done = shell(f"{line}; code=$?; wait; exit $code")
    assert (done.returncode, done.stdout) == (0, "s\n")
