"""`detkit advise` on a network whose INT8 variant is nearly as good as its float one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detkit.advise import run as room
from detkit.advise.run import MeasuredVariants, measure_variants
from detkit.cli import app
from detkit.core.serialization import from_json
from detkit.report import AdviceReport
from detkit.timing.plan import TimingPlan

QUICK = TimingPlan(min_seconds=0, min_runs=10, blocks=10, warmup_seconds=0, max_warmup_seconds=0)


@pytest.fixture(scope="module")
def measure_once() -> Callable[..., MeasuredVariants]:
    """`measure_variants` of the first call, for every call: the tests ask of one checkpoint."""
    found: list[MeasuredVariants] = []

    def measure(*args: Any) -> MeasuredVariants:
        if not found:
            found.append(measure_variants(*args))
        return found[0]

    return measure


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    measure_once: Callable[..., MeasuredVariants],
) -> Callable[..., tuple[int, str, str]]:
    """Runs a verb in this process: exit code, stdout, stderr."""
    monkeypatch.setattr(room, "VARIANT_PLAN", QUICK)
    monkeypatch.setattr(room, "measure_variants", measure_once)
    monkeypatch.setattr(app, "_prepare_process", lambda: None)

    def call(*args: object) -> tuple[int, str, str]:
        code = app.main([str(arg) for arg in args])
        return code, *capfd.readouterr()

    return call


def test_every_form_that_runs_here_is_in_the_table_and_one_is_advised(
    run: Callable[..., tuple[int, str, str]],
    settled: Callable[..., Path],
    labelled: Path,
    tmp_path: Path,
) -> None:
    before = sorted(settled().parent.iterdir())
    out = tmp_path / "advice.json"
    wide = ("--max-drop", 100, "--threads", 1, "-o", out)
    code, stdout, stderr = run("advise", settled(), "--data", labelled, *wide, "--json")
    assert code == 0, stderr
    report = from_json(AdviceReport, stdout)
    assert out.read_text() == stdout
    variants = {(variant.runtime, variant.precision): variant for variant in report.variants}
    assert {("torch", "fp32"), ("onnxruntime", "fp32"), ("onnxruntime", "int8")} <= set(variants)
    assert variants["onnxruntime", "fp32"].drop == pytest.approx(0, abs=0.2)
    assert variants["onnxruntime", "int8"].bytes < variants["onnxruntime", "fp32"].bytes
    assert report.chosen is not None
    assert report.variants[report.chosen].rejected == ""
    assert report.advice.startswith(("ship ", "stay in "))
    assert report.commands[-1].startswith("detkit ")
    assert "openvino fp16" in report.absent
    assert sorted(settled().parent.iterdir()) == before


def test_limit_that_nothing_meets_exits_3_with_the_table(
    run: Callable[..., tuple[int, str, str]], settled: Callable[..., Path], labelled: Path
) -> None:
    args = ("--data", labelled, "--threads", 1, "--max-ms", 0.0001)
    code, stdout, stderr = run("advise", settled(), *args)
    assert code == 3
    assert stdout.split()[:2] == ["engine", "precision"]
    assert "nothing meets the limits" in stderr
    assert json.dumps("limit 0.0001")[1:-1] in stderr
