"""What a run of the suite says of the tests that it skipped, on one process and on several."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from skipped_tests import NOTHING, remedy_of

SUITE = """
import pytest

@pytest.mark.parametrize("number", range(3))
def test_of_a_shell(number):
    pytest.skip("fish is not installed here")

def test_of_an_engine():
    pytest.importorskip("tensorrt_rtx_that_is_not_there")

@pytest.mark.skipif(True, reason="there is a GPU here")
def test_without_a_gpu():
    pass

def test_that_runs():
    pass
"""


@pytest.mark.parametrize("processes", ["0", "2"])
def test_skipped_tests_are_listed_by_reason_with_what_has_them_run(
    tmp_path: Path, processes: str
) -> None:
    (tmp_path / "test_of_shells.py").write_text(SUITE, encoding="utf-8")
    args = ("-q", "-p", "skipped_tests", "-n", processes, "--rootdir", ".", "-c", os.devnull)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *args],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parent), "COLUMNS": "80"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    title = next(i for i, line in enumerate(lines) if "5 tests skipped: what would" in line)
    assert [line.rstrip() for line in lines[title + 1 : title + 10]] == [
        "   3  fish is not installed here",
        "      to run: apt-get install fish",
        "      in: test_of_shells.py",
        "   1  could not import 'tensorrt_rtx_that_is_not_there': "
        "No module named 'tensorrt_rtx_that_is_not_there'",
        "      to run: pip install --editable '.[dev]'  (x86-64 Linux only)",
        "      in: test_of_shells.py",
        "   1  there is a GPU here",
        "      to run: a machine without a GPU; on this one run examples/gpu_check.sh",
        "      in: test_of_shells.py",
    ]


@pytest.mark.parametrize(
    ("reason", "remedy"),
    [
        ("zsh is not installed here", "apt-get install zsh"),
        ("root may read everything", "run the suite as another user than root"),
        ("tensorrt or torch is not installed here", "pip install 'detkit[tensorrt]'"),
        ("the relaxed problem knows two objectives", NOTHING),
    ],
)
def test_a_reason_has_its_remedy(reason: str, remedy: str) -> None:
    assert remedy in remedy_of(reason)
