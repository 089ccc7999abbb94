"""A pipe in the place of a file is refused by every verb, and not waited for."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest

from detkit.cli.command import run
from detkit.cli.verb_table import VERBS
from detkit.core.errors import DetkitError


@pytest.mark.parametrize(
    "line",
    [
        "train . -c f.toml -o x",
        "search --space f.json -o x",
        "info f.json",
        "info f.onnx",
        "import f.pth -o x.safetensors",
        "eval f.onnx .",
        "eval f.onnx . --outputs f.json",
        "bench f.onnx --baseline f.json",
        "compare f.json",
        "profile f.json",
        "reparam f.safetensors -o x.safetensors",
    ],
)
def test_a_pipe_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    monkeypatch.chdir(tmp_path)
    for suffix in ("json", "toml", "onnx", "pth", "safetensors"):
        os.mkfifo(f"f.{suffix}")
    before = sorted(tmp_path.iterdir())
    verb, *words = shlex.split(line)
    with pytest.raises((DetkitError, OSError), match="a pipe, not a file") as caught:
        run(verb, VERBS[verb], words)
    assert getattr(caught.value, "exit_code", 1) == 1  # as `main` has it for an OSError
    assert sorted(tmp_path.iterdir()) == before
