from __future__ import annotations

import dataclasses
import json
import time

import numpy as np
import pytest

from detkit.artifact import sha256_of
from detkit.bench import candidate, duel
from detkit.bench.baseline import (
    Baseline,
    Subject,
    change_of_runs,
    check_same_machine,
    file_to_time_again,
    match,
    read_baseline,
    subject_of,
    verdict_of,
)
from detkit.bench.fingerprint import fingerprint
from detkit.bench.measure import Plan
from detkit.bench.run import bench
from detkit.bench.statistics import Interval
from detkit.codec import to_json
from detkit.errors import ArtifactError, MeasurementError
from detkit.report import BenchReport, ModelLatency, ReferenceTimes, TrainReport
from detkit.runtime import Placement, open_session

QUICK = Plan(min_seconds=0.1, min_runs=100, blocks=5, warmup_seconds=0, chain_runs=3)
LIMIT = 0.05


def blocks(ms: float, *, seed: int = 0, noise: float = 0.003) -> tuple[float, ...]:
    return tuple(ms * (1 + np.random.default_rng(seed).normal(0, noise, 20)))


@pytest.fixture
def model(sample):
    """`model(ms, file=..., ...)`: a row of a report with blocks of about these ms."""

    def make(ms: float = 10.0, file: str = "m.onnx", *, seed: int = 0, **fields) -> ModelLatency:
        return sample(ModelLatency, file=file, block_ms=blocks(ms, seed=seed), **fields)

    return make


@pytest.fixture
def baseline(sample, tmp_path):
    def make(*models: ModelLatency, **fields) -> Baseline:
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
def test_what_is_no_bench_report_is_refused(sample, tmp_path, content, message):
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


def test_a_report_of_the_first_schema_is_known_as_old(sample, tmp_path):
    """It has none of the fields that came later."""
    row = {"file": "m.onnx", "latency_ms": {"p50": 1.0}}
    old = {"schema_version": 1, "models": [row], "pictures": "p", "fingerprint": {}}
    path = tmp_path / "b.json"
    path.write_text(json.dumps({**old, "valid": True, "reasons": []}))
    with pytest.raises(ArtifactError, match="made by another version of detkit"):
        read_baseline(path, LIMIT)


def test_another_machine_is_refused_with_what_differs(baseline):
    here = {"id": "1", "cpu": "A", "onnxruntime": "1.32", "load_average": "1"}
    check_same_machine(baseline(fingerprint=here | {"load_average": "7"}), here)
    with pytest.raises(MeasurementError, match=r"onnxruntime 1\.31 -> 1\.32") as raised:
        check_same_machine(baseline(fingerprint=here | {"id": "2", "onnxruntime": "1.31"}), here)
    assert "cpu" not in str(raised.value)


def test_models_are_matched_by_name_and_else_by_place(baseline, model):
    old = baseline(model(file="x/a.onnx"), model(file="x/b.onnx"))

    def subjects(*names: str) -> list[Subject]:
        first = subject_of(old.report.models[0], old.report.scenario)
        return [dataclasses.replace(first, name=name) for name in names]

    def matched(*names: str) -> list[str]:
        return [found.file for found in match(old, subjects(*names))]

    assert matched("b.onnx", "a.onnx") == ["x/b.onnx", "x/a.onnx"]
    assert matched("b.onnx") == ["x/b.onnx"]
    assert matched("new.onnx", "newer.onnx") == ["x/a.onnx", "x/b.onnx"]
    with pytest.raises(MeasurementError, match=r"has no new\.onnx, but a\.onnx, b\.onnx"):
        match(old, subjects("new.onnx"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"runtime": "openvino"}, "runtime text -> openvino"),
        ({"precision": "int8"}, "precision text -> int8"),
        ({"image_size": (64, 32)}, "image size"),
        ({"batch": 77}, "batch"),
        ({"threads": 77}, "threads"),
        ({"device": "cuda"}, "device"),
        ({"scenario": "throughput"}, "scenario text -> throughput"),
    ],
)
def test_a_model_measured_in_another_way_is_refused(baseline, model, change, message):
    old = baseline(model())
    subject = subject_of(old.report.models[0], old.report.scenario)
    with pytest.raises(MeasurementError, match=f"cannot be compared .*{message.split()[0]}"):
        match(old, [dataclasses.replace(subject, **change)])


def test_the_old_file_is_timed_again_only_if_it_is_the_old_one_and_not_the_new(
    cell_model, model, tmp_path
):
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
        (-0.04, 0.07, "unknown"),
    ],
)
def test_verdicts_by_where_the_interval_lies(low, high, verdict):
    assert verdict_of(Interval(low, high), LIMIT)[0] == verdict


def reference(ms: float, seed: int, name: str = "work/1") -> ReferenceTimes:
    return ReferenceTimes(name=name, p50_ms=ms, block_ms=blocks(ms, seed=seed))


def test_a_slower_machine_is_no_regression(model):
    old, new = model(10.0, seed=1), model(10.8, seed=2)
    references = (reference(2.0, 3), reference(2.16, 4))
    found = change_of_runs(old, new, references, LIMIT, [])
    assert found.verdict == "no change"
    assert abs(found.change) < 0.01
    assert found.decided_by == "reference"


def test_a_slower_model_is_one_also_on_a_faster_machine(model):
    references = (reference(2.0, 3), reference(1.9, 4))
    found = change_of_runs(model(10.0, seed=1), model(10.45, seed=2), references, LIMIT, [])
    assert found.verdict == "regression"
    assert found.low > LIMIT
    assert found.change == pytest.approx(1.045 / 0.95 - 1, abs=0.01)


def test_a_machine_that_became_another_tells_nothing(model):
    references = (reference(2.0, 3), reference(2.4, 4))
    found = change_of_runs(model(10.0), model(20.0), references, LIMIT, [])
    assert found.verdict == "unknown"
    assert "reference work by +20%" in found.why


def test_doubts_of_either_run_tell_nothing(model):
    references = (reference(2.0, 3), reference(2.0, 4))
    found = change_of_runs(model(10.0), model(20.0), references, LIMIT, ["now: too hot"])
    assert (found.verdict, found.why) == ("unknown", "now: too hot")


def test_without_reference_work_in_both_times_are_compared_as_they_are(model):
    for references in ((None, reference(3.0, 1)), (reference(3.0, 1), reference(9.0, 1, "else"))):
        found = change_of_runs(model(10.0, seed=1), model(8.0, seed=2), references, LIMIT, [])
        assert (found.verdict, found.decided_by) == ("faster", "times")
        assert found.change == pytest.approx(-0.2, abs=0.01)


# --- whole runs ----------------------------------------------------------------------------------


@pytest.fixture
def measured(cell_model, cell_folder, tmp_path, monkeypatch):
    """`measured(path, ...)`: a run on the pictures of `cell_folder`; doubts of the moment aside."""
    for name in ("doubts_of_load", "doubts_of_states", "doubts_of_times"):
        monkeypatch.setattr(f"detkit.bench.run.{name}", lambda *_, **__: iter(()))

    def run(path, against: BenchReport | None = None, **settings) -> BenchReport:
        baseline = None
        if against is not None:
            file = tmp_path / "baseline.json"
            file.write_text(to_json(against))
            baseline = read_baseline(file, 0.5)
        settings = {"plan": QUICK, "placement": Placement(threads=1), **settings}
        return bench([path], data=cell_folder, baseline=baseline, **settings)

    return run


class Slowed:
    """A session whose runs take three times as long."""

    def __init__(self, session, clock) -> None:
        self.session, self.clock = session, clock
        self.manifest, self.runtime = session.manifest, session.runtime

    def run(self, images):
        began = self.clock()
        found = self.session.run(images)
        took = self.clock() - began
        while self.clock() < began + 3 * took:
            pass
        return found


@pytest.mark.parametrize("scenario", ["latency", "throughput"])
def test_a_model_that_became_slower_is_caught_in_turns_with_the_old_file(
    cell_model, measured, monkeypatch, scenario
):
    old, new = cell_model(), cell_model("new.onnx", score_factor=3.0)

    def opened(path, **settings):
        session = open_session(path, **settings)
        return Slowed(session, time.perf_counter) if path == new else session

    monkeypatch.setattr(candidate, "open_session", opened)
    monkeypatch.setattr(duel, "FLOW_SECONDS", 0.01)
    before = measured(old, scenario=scenario)
    report = measured(new, before, scenario=scenario)
    (change,) = report.baseline.changes
    assert (change.verdict, change.decided_by) == ("regression", "interleaved")
    assert change.low > 0.5
    assert (change.file, change.baseline_file) == (str(new), str(old))


def test_the_same_file_is_compared_over_the_reference_work(cell_model, measured):
    path = cell_model()
    before = measured(path)
    report = measured(path, before)
    (change,) = report.baseline.changes
    assert change.decided_by == "reference"
    then, now = (np.percentile(r.reference.block_ms, 25) for r in (before, report))
    assert report.baseline.reference_change == pytest.approx(now / then - 1)


def test_a_baseline_of_another_machine_is_refused_before_anything_is_timed(
    cell_model, measured, monkeypatch
):
    before = measured(cell_model())
    other = dataclasses.replace(before, fingerprint=fingerprint() | {"id": "0", "cpu": "other"})
    monkeypatch.setattr("detkit.bench.run.open_sessions", lambda *_: pytest.fail("too late"))
    with pytest.raises(MeasurementError, match="cpu other ->"):
        measured(cell_model(), other)
