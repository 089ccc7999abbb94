from __future__ import annotations

import json
from pathlib import Path

import pytest

from detkit.core.content_digest import seal
from fixtures.command_line import Detkit


@pytest.fixture
def run(tmp_path: Path) -> Path:
    line = json.dumps(seal({"epoch": 1, "ap": 0.5}))
    (tmp_path / "metrics.jsonl").write_text(f"{line}\n", encoding="utf-8")
    return tmp_path


def test_page_lands_in_the_run_and_its_path_on_stdout(detkit: Detkit, run: Path) -> None:
    done = detkit("report", str(run))
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{run}/report.html\n", "")
    assert (run / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_out_names_the_page(detkit: Detkit, run: Path) -> None:
    path = run / "pages" / "a.html"
    assert detkit("report", str(run), "-o", str(path)).stdout == f"{path}\n"
    assert path.is_file()
    assert not (run / "report.html").exists()


def test_folder_that_is_no_run_is_refused_and_left_alone(detkit: Detkit, tmp_path: Path) -> None:
    done = detkit("report", str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: {tmp_path} is not a run folder\nhint: ")
    assert list(tmp_path.iterdir()) == []


def test_out_that_cannot_be_written_is_one_error(detkit: Detkit, run: Path) -> None:
    done = detkit("report", str(run), "-o", f"{run}/metrics.jsonl/a.html")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: cannot write ")
