"""Examples in docstrings are run, where best.onnx and a COCO folder lie."""

from __future__ import annotations

import doctest
import importlib
from collections.abc import Callable
from pathlib import Path

import pytest

import detkit

ROOT = Path(detkit.__file__).parent
OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.IGNORE_EXCEPTION_DETAIL
LEAST = 20


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


MODULES = sorted(
    name_of(path) for path in ROOT.rglob("*.py") if ">>> " in path.read_text(encoding="utf-8")
)


def examples_in(name: str) -> list[doctest.DocTest]:
    module = importlib.import_module(name)
    return [test for test in doctest.DocTestFinder().find(module) if test.examples]


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module_run(
    name: str,
    cell_model: Callable[..., Path],
    cell_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    cell_model("best.onnx").rename(tmp_path / "best.onnx")
    monkeypatch.chdir(tmp_path)
    assert cell_folder == tmp_path / "coco"
    runner = doctest.DocTestRunner(optionflags=OPTIONS)
    for test in examples_in(name):
        runner.run(test)
    assert runner.failures == 0, capsys.readouterr().out
    assert runner.tries > 0


def test_there_are_examples_enough() -> None:
    found = sum(len(test.examples) for name in MODULES for test in examples_in(name))
    assert found >= LEAST
