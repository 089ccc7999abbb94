from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from detkit.artifact.artifact import sha256_of
from detkit.bench import ab_test as ab_test
from detkit.bench import timed_model
from detkit.bench.baseline import (
    Baseline,
    MeasurementKey,
    change_of_runs,
    check_same_machine,
    file_to_time_again,
    key_of,
    match_models,
    read_baseline,
    verdict_of,
)
from detkit.bench.run import time_models
from detkit.core.errors import ArtifactError, MeasurementError
from detkit.core.serialization import to_json
from detkit.engines import engine_packages
from detkit.engines.opening import open_session
from detkit.machine.fingerprint import fingerprint
from detkit.report import BenchReport, Change, ModelLatency, ReferenceTimes, TrainReport
from detkit.runtime.session import Session, SessionOptions
from detkit.timing.plan import TimingPlan
from detkit.timing.statistics import Interval

QUICK = TimingPlan(min_seconds=0.1, min_runs=100, blocks=5, warmup_seconds=0, max_chain_runs=3)
LIMIT = 0.05


def blocks(ms: float, *, seed: int = 0, noise: float = 0.003) -> tuple[float, ...]:
    return tuple(ms * (1 + np.random.default_rng(seed).normal(0, noise, 20)))


@pytest.fixture
def model(sample: Callable[..., Any]) -> Callable[..., ModelLatency]:
    """`model(ms, file=..., ...)`: a row of a report with blocks of about these ms."""

    def make(
        ms: float = 10.0, file: str = "m.onnx", *, seed: int = 0, **fields: Any
    ) -> ModelLatency:
        row: ModelLatency = sample(
            ModelLatency, file=file, block_ms=blocks(ms, seed=seed), **fields
        )
        return row

    return make


@pytest.fixture
def baseline(sample: Callable[..., Any], tmp_path: Path) -> Callable[..., Baseline]:
    def make(*models: ModelLatency, **fields: Any) -> Baseline:
        report = sample(BenchReport, models=models, **fields)
        return Baseline(tmp_path / "b.json", report, LIMIT)

    return make


# --- may they be compared ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        ("{", "not valid JSON"),
        ("[1, 2]", "not a detkit JSON file"),
        ("train", "is no bench report but: train report"),
        ("schema 1", "made by another version of detkit"),
        ("no blocks", "has no times of blocks"),
        ("no models", "has no times of blocks"),
    ],
)
def test_what_is_no_bench_report_is_refused(
    sample: Callable[..., Any], tmp_path: Path, content: str | None, message: str
) -> None:
    old = sample(BenchReport)
    texts = {
        "train": to_json(sample(TrainReport)),
        "schema 1": to_json(dataclasses.replace(old, schema_version=1)),
        "no blocks": to_json(dataclasses.replace(old, models=(sample(ModelLatency, block_ms=()),))),
        "no models": to_json(dataclasses.replace(old, models=())),
    }
    path = tmp_path / "b.json"
    if content is not None:
        path.write_text(texts.get(content, content))
    with pytest.raises(ArtifactError, match=message):
        read_baseline(path, LIMIT)


def test_a_report_of_the_first_schema_is_known_as_old(
    sample: Callable[..., Any], tmp_path: Path
) -> None:
    """It has none of the fields that came later."""
    row = {"file": "m.onnx", "latency_ms": {"p50": 1.0}}
    old = {
        "kind": "bench report",
        "schema_version": 1,
        "models": [row],
        "images": "p",
        "fingerprint": {},
    }
    path = tmp_path / "b.json"
    path.write_text(json.dumps({**old, "fingerprint": {}, "valid": True, "warnings": []}))
    with pytest.raises(ArtifactError, match="made by another version of detkit"):
        read_baseline(path, LIMIT)


def test_another_machine_is_refused_with_what_differs(baseline: Callable[..., Baseline]) -> None:
    here = {"id": "1", "cpu": "A", "onnxruntime": "1.32", "load_average": "1"}
    check_same_machine(baseline(fingerprint=here | {"load_average": "7"}), here)
    with pytest.raises(MeasurementError, match=r"onnxruntime 1\.31 -> 1\.32") as raised:
        check_same_machine(baseline(fingerprint=here | {"id": "2", "onnxruntime": "1.31"}), here)
    assert "cpu" not in str(raised.value)


def test_models_are_matched_by_name_and_else_by_place(
    baseline: Callable[..., Baseline], model: Callable[..., ModelLatency]
) -> None:
    old = baseline(model(file="x/a.onnx"), model(file="x/b.onnx"))

    def subjects(*names: str) -> list[MeasurementKey]:
        first = key_of(old.report.models[0], old.report.scenario)
        return [dataclasses.replace(first, name=name) for name in names]

    def matched(*names: str) -> list[str]:
        return [found.file for found in match_models(old, subjects(*names))]

    assert matched("b.onnx", "a.onnx") == ["x/b.onnx", "x/a.onnx"]
    assert matched("b.onnx") == ["x/b.onnx"]
    assert matched("new.onnx", "newer.onnx") == ["x/a.onnx", "x/b.onnx"]
    with pytest.raises(MeasurementError, match=r"has no new\.onnx, but a\.onnx, b\.onnx"):
        match_models(old, subjects("new.onnx"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"engine": "openvino"}, "engine text -> openvino"),
        ({"precision": "int8"}, "precision text -> int8"),
        ({"image_size": (64, 32)}, "image size"),
        ({"batch": 77}, "batch"),
        ({"threads": 77}, "threads"),
        ({"device": "cuda"}, "device"),
        ({"scenario": "throughput"}, "scenario text -> throughput"),
    ],
)
def test_a_model_measured_in_another_way_is_refused(
    baseline: Callable[..., Baseline],
    model: Callable[..., ModelLatency],
    change: dict[str, Any],
    message: str,
) -> None:
    old = baseline(model())
    subject = key_of(old.report.models[0], old.report.scenario)
    with pytest.raises(MeasurementError, match=f"cannot be compared .*{message.split()[0]}"):
        match_models(old, [dataclasses.replace(subject, **change)])


def test_the_old_file_is_timed_again_only_if_it_is_the_old_one_and_not_the_new(
    cell_model: Callable[..., Path], model: Callable[..., ModelLatency], tmp_path: Path
) -> None:
    old, new = cell_model(), cell_model("new.onnx", score_factor=3.0)
    row = model(file=str(old), sha256=sha256_of(old))
    assert file_to_time_again(row, new) == old
    assert file_to_time_again(row, old) is None
    assert file_to_time_again(dataclasses.replace(row, sha256="0" * 64), new) is None
    assert file_to_time_again(dataclasses.replace(row, file=str(tmp_path / "gone")), new) is None


# --- what the figures say ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.051, 0.20, "regression"),
        (0.049, 0.06, "slower"),
        (0.001, 0.01, "slower"),
        (-0.01, 0.06, "no change"),
        (-0.03, -0.01, "faster"),
        (-0.20, -0.01, "faster"),
        (-0.20, 0.049, "no change"),
        (-0.04, 0.07, "unknown"),
    ],
)
def test_verdicts_by_where_the_interval_lies(low: float, high: float, verdict: str) -> None:
    assert verdict_of(Interval(low, high), LIMIT)[0] == verdict


@pytest.fixture
def run(
    sample: Callable[..., Any], model: Callable[..., ModelLatency]
) -> Callable[..., BenchReport]:
    """`run(model_ms, reference_ms, ...)`: a valid report of one model and of the reference work."""

    def make(ms: float, reference_ms: float, *, cpu_ms: float = 0.0, **fields: Any) -> BenchReport:
        seed = int(100 * ms + 7 * reference_ms)
        reference = ReferenceTimes(
            name=fields.pop("name", "work/1"),
            p50_ms=reference_ms,
            block_ms=blocks(reference_ms, seed=seed + 1),
            block_cpu_ms=blocks(2.0, seed=seed + 3) if cpu_ms else (),
        )
        block_cpu_ms = blocks(cpu_ms, seed=seed + 2) if cpu_ms else ()
        row = dataclasses.replace(model(ms, seed=seed), block_cpu_ms=block_cpu_ms)
        fields = {"valid": True, "warnings": (), "cpu_time_valid": True, **fields}
        report: BenchReport = sample(BenchReport, models=(row,), reference=reference, **fields)
        return report

    return make


def change(old: BenchReport, new: BenchReport) -> Change:
    return change_of_runs((old, new), (old.models[0], new.models[0]), LIMIT)


def test_a_slower_machine_is_no_regression(run: Callable[..., BenchReport]) -> None:
    found = change(run(10.0, 2.0), run(10.8, 2.16))
    assert found.verdict in ("no change", "slower", "faster")
    assert abs(found.change) < 0.01
    assert found.decided_by == "reference"


def test_a_slower_model_is_one_also_on_a_faster_machine(run: Callable[..., BenchReport]) -> None:
    found = change(run(10.0, 2.0), run(10.45, 1.9))
    assert found.verdict == "regression"
    assert found.low > LIMIT
    assert found.change == pytest.approx(1.045 / 0.95 - 1, abs=0.01)


def test_a_machine_that_became_another_tells_nothing(run: Callable[..., BenchReport]) -> None:
    found = change(run(10.0, 2.0), run(20.0, 2.4))
    assert found.verdict == "unknown"
    assert "reference work by +20%" in found.why


def test_warnings_of_either_run_tell_nothing(run: Callable[..., BenchReport]) -> None:
    hot = {"valid": False, "warnings": ("too hot",), "cpu_time_valid": False}
    found = change(run(10.0, 2.0, cpu_ms=9.0), run(20.0, 2.0, cpu_ms=9.0, **hot))
    assert (found.verdict, found.why) == ("unknown", "now: too hot")
    found = change(run(10.0, 2.0, **hot), run(20.0, 2.0))
    assert (found.verdict, found.why) == ("unknown", "baseline: too hot")


def test_where_only_others_disturbed_the_run_cpu_times_are_compared(
    run: Callable[..., BenchReport],
) -> None:
    busy = {"valid": False, "warnings": ("other programs",)}
    old, new = run(10.0, 2.0, cpu_ms=9.0), run(30.0, 6.0, cpu_ms=9.9, **busy)
    found = change(old, new)
    assert (found.verdict, found.decided_by) == ("regression", "reference, CPU time")
    assert found.change == pytest.approx(0.1, abs=0.01)
    without = change(old, run(30.0, 6.0, **busy))
    assert (without.verdict, without.decided_by) == ("unknown", "reference")


def test_without_reference_work_in_both_times_are_compared_as_they_are(
    run: Callable[..., BenchReport],
) -> None:
    old, new = run(10.0, 3.0), run(8.0, 3.0)
    for pair in (
        (dataclasses.replace(old, reference=None), new),
        (old, dataclasses.replace(new, reference=None)),
        (old, run(8.0, 9.0, name="else/1")),
    ):
        found = change(*pair)
        assert (found.verdict, found.decided_by) == ("faster", "times")
        assert found.change == pytest.approx(-0.2, abs=0.01)


# --- whole runs ----------------------------------------------------------------------------------


@pytest.fixture
def measured(
    cell_model: Callable[..., Path],
    cell_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., BenchReport]:
    """`measured(path, ...)`: a run on the images of `cell_folder`; warnings of the moment aside."""
    for name in ("load_warnings", "state_warnings", "timing_warnings"):
        monkeypatch.setattr(f"detkit.bench.run.{name}", lambda *_, **__: iter(()))

    def run(path: Path, against: BenchReport | None = None, **settings: Any) -> BenchReport:
        baseline = None
        if against is not None:
            file = tmp_path / "baseline.json"
            file.write_text(to_json(against))
            baseline = read_baseline(file, 0.5)
        settings = {"plan": QUICK, "session_options": SessionOptions(threads=1), **settings}
        return time_models([path], data=cell_folder, baseline=baseline, **settings)

    return run


class Slowed:
    """A session whose runs take three times the CPU time, and 3 ms of rest."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.manifest, self.engine = session.manifest, session.engine

    def run(
        self, images: npt.NDArray[np.float32]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        began = time.thread_time()
        found = self.session.run(images)
        end = time.thread_time() + 2 * (time.thread_time() - began)
        while time.thread_time() < end:
            pass
        time.sleep(0.003)
        return found


@pytest.mark.parametrize("scenario", ["latency", "throughput"])
def test_a_model_that_became_slower_is_caught_in_turns_with_the_old_file(
    cell_model: Callable[..., Path],
    measured: Callable[..., BenchReport],
    monkeypatch: pytest.MonkeyPatch,
    scenario: str,
) -> None:
    old, new = cell_model(), cell_model("new.onnx", score_factor=3.0)

    def opened(path: Path, **settings: Any) -> Session:
        session = open_session(path, **settings)
        return Slowed(session) if path == new else session

    monkeypatch.setattr(timed_model, "open_session", opened)
    monkeypatch.setattr(ab_test, "TURN_SECONDS", 0.01)
    before = measured(old, scenario=scenario)
    report = measured(new, before, scenario=scenario)
    assert report.baseline is not None
    (change,) = report.baseline.changes
    assert change.verdict == "regression"
    assert change.decided_by in ("interleaved", "interleaved, CPU time")
    assert change.low > 0.5
    assert (change.file, change.baseline_file) == (str(new), str(old))


def test_the_same_file_is_compared_over_the_reference_work(
    cell_model: Callable[..., Path], measured: Callable[..., BenchReport]
) -> None:
    path = cell_model()
    before = measured(path)
    report = measured(path, before)
    assert report.baseline is not None
    (change,) = report.baseline.changes
    assert change.decided_by == "reference"
    assert before.reference is not None
    assert report.reference is not None
    works = (before.reference, report.reference)
    then, now = (np.percentile(work.block_ms, 25) for work in works)
    assert report.baseline.reference_change == pytest.approx(now / then - 1)


def test_a_baseline_of_another_machine_is_refused_before_anything_is_timed(
    cell_model: Callable[..., Path],
    measured: Callable[..., BenchReport],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = measured(cell_model())
    other = dataclasses.replace(
        before, fingerprint=fingerprint(engine_packages()) | {"id": "0", "cpu": "other"}
    )
    monkeypatch.setattr("detkit.bench.run.open_sessions", lambda *_: pytest.fail("too late"))
    with pytest.raises(MeasurementError, match="cpu other ->"):
        measured(cell_model(), other)
