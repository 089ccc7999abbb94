"""An engine is one record: named nowhere else, and a new one is one file and one line.

The new one is that of CONTRIBUTING.md, where `tests/test_contributing.py` adds it in its own place.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from unittest.mock import Mock

import pytest

import detkit
from detkit.advise import run as advising
from detkit.artifact.artifact import read_manifest
from detkit.cli import app, options
from detkit.core.errors import UsageError
from detkit.engines import ENGINES, engine_packages, find_engine
from detkit.timing import cpu_time, measure
from detkit.timing.plan import TimingPlan
from fixtures import walks

ROOT = Path(detkit.__file__).parent
NAME = "reference"
MODULE = f"detkit.engines.{NAME}"
QUICK = TimingPlan(min_seconds=0, min_runs=2, blocks=2, warmup_seconds=0, max_warmup_seconds=0)

# Where a name means something else than the engine.
ELSEWHERE = {("importing/unpickle.py", "torch"): "the module whose pickled classes are rebuilt"}


def strings(file: Path) -> set[str]:
    """All string constants of a file that are no docstring."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def test_no_engine_is_named_outside_engines() -> None:
    found = {
        (path.relative_to(ROOT).as_posix(), name)
        for path in ROOT.rglob("*.py")
        if path.relative_to(ROOT).parts[0] != "engines"
        for name in strings(path) & set(ENGINES)
    }
    assert found == set(ELSEWHERE)


@pytest.fixture
def new_file(tmp_path: Path) -> Path:
    path, code = walks.new_file("Add an inference engine")
    assert path == Path("src", *MODULE.split(".")).with_suffix(".py")
    file = tmp_path / path.name
    file.write_text(code, encoding="utf-8")
    return file


@pytest.fixture
def added(new_file: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The one file, imported, and the one line."""
    assert vars(options)["ENGINES"] is ENGINES  # its flags are made before the line is there
    spec = importlib.util.spec_from_file_location(MODULE, new_file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, MODULE, module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "export", Mock(wraps=module.export))
    monkeypatch.setitem(ENGINES, NAME, module.ENGINE)  # the line
    return module


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a verb in this process, which must succeed; gives stdout."""
    monkeypatch.setattr(app, "_prepare_process", lambda: None)
    monkeypatch.setattr(advising, "VARIANT_PLAN", QUICK)
    monkeypatch.setattr(cpu_time, "SAMPLE_PLAN", QUICK)
    monkeypatch.setattr(measure, "WINDOW", 1)  # of warm-up: an engine in numpy takes long

    def call(*args: object, code: int = 0) -> str:
        found = app.main([str(arg) for arg in args])
        streams = capfd.readouterr()
        assert found == code, streams.err
        return streams.out

    return call


def test_a_new_engine_goes_through_every_verb(
    added: ModuleType,
    run: Callable[..., str],
    settled: Callable[..., Path],
    labelled: Path,
    tmp_path: Path,
) -> None:
    exported = tmp_path / "m.onnx"
    run("export", settled(), "--to", added.ENGINE.exported_as, "-o", exported)
    added.export.assert_called_once()
    assert read_manifest(exported).kind == "onnx"
    short = ("--seconds", 0, "--runs", 10)
    timed = json.loads(run("bench", exported, "--runtime", NAME, *short, "--json"))
    assert [model["runtime"] for model in timed["models"]] == [NAME]
    scored = [
        json.loads(run("eval", exported, labelled, "--runtime", name, "--json"))["ap"]
        for name in (NAME, find_engine("auto").name)
    ]
    assert scored[0] == pytest.approx(scored[1], abs=1e-3)
    profile = tmp_path / "profile.json"
    space = ("--space", "tiny", "--imgsz", 32, "--classes", 2, "--samples", 8)
    run(*PROFILE, *space, "--runtime", NAME, "-o", profile)
    assert json.loads(profile.read_text())["runtime"] == NAME


def test_advice_weighs_a_new_engine(
    added: ModuleType, run: Callable[..., str], settled: Callable[..., Path], labelled: Path
) -> None:
    limits = ("--max-drop", 100, "--threads", 1)
    found = json.loads(run(*ADVISE, settled(), "--data", labelled, *limits, "--json"))
    assert (NAME, "fp32") in {(form["runtime"], form["precision"]) for form in found["variants"]}
    assert found["absent"][f"{NAME} int8"] == dict(added.ENGINE.without)["int8"]


def test_help_and_completions_name_a_new_engine(new_file: Path) -> None:
    """In a process of its own, for flags are made when they are first imported."""
    script = (
        f"import sys, {NAME}\n"
        "from detkit.engines import ENGINES\n"
        f"ENGINES['{NAME}'] = {NAME}.ENGINE\n"
        "from detkit.cli.app import main\n"
        "from detkit.cli.completion import bash, command_tree\n"
        "print(bash(command_tree()))\n"
        "sys.exit(main(['help', 'bench']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": f"{new_file.parent}:{ROOT.parent}"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    completions, _, helped = done.stdout.partition("detkit bench")
    assert NAME in completions
    assert NAME in helped


def test_fingerprints_and_errors_name_a_new_engine(added: ModuleType) -> None:
    assert "onnx" in engine_packages()
    with pytest.raises(UsageError, match="unknown engine 'refrence'") as caught:
        find_engine("refrence")
    assert NAME in str(caught.value.hint)


PROFILE = ("profile",)
ADVISE = ("advise",)
