"""The walks of CONTRIBUTING.md, executed as they stand in a copy of the sources."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fixtures.walks import WALKS, blocks, new_file

ROOT = Path(__file__).parents[1]


def change(path: Path, lines: list[str]) -> None:
    """Applies a block of ` context`, `-gone` and `+new` lines: new ones follow the last named."""
    text = path.read_text(encoding="utf-8").splitlines()
    at = 0
    for line in lines:
        mark, rest = line[0], line[1:]
        if mark == "+":
            text.insert(at, rest)
            at += 1
        else:
            at = text.index(rest)
            del text[at : at + (mark == "-")]
            at += mark == " "
    path.write_text("\n".join(text) + "\n", encoding="utf-8")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The sources, with what is compiled of them, and a `detkit` that runs them."""
    ignored = shutil.ignore_patterns("*.egg-info", "*.pyc.*")  # what others are writing now
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=ignored)
    (tmp_path / "bin").mkdir()
    for name, command in {"python": "", "detkit": "-m detkit"}.items():
        script = tmp_path / "bin" / name
        script.write_text(f'#!/bin/sh\nexec {sys.executable} {command} "$@"\n')
        script.chmod(0o755)
    return tmp_path


def test_there_are_three_walks() -> None:
    assert list(WALKS) == ["Add a block", "Add an inference engine", "Add a search strategy"]


@pytest.mark.parametrize("title", WALKS)
def test_a_walk_works_as_it_is_written(
    title: str, copy: Path, settled: Callable[..., Path]
) -> None:
    shutil.copyfile(settled(), copy / "best.safetensors")
    file, code = new_file(title)
    assert not (copy / file).exists()
    (copy / file).write_text(code, encoding="utf-8")
    commands = [body for language, body in blocks(title) if language == "sh"]
    for first, *lines in (body.splitlines() for kind, body in blocks(title) if kind == "diff"):
        change(copy / first.removeprefix("# "), lines)
    assert len(commands) == 1
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands[0]],
        cwd=copy,
        env={
            **os.environ,
            "PATH": f"{copy / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": str(copy / "src"),
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
