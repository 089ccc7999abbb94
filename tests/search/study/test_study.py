"""The driver, with latency and scores that are cheap and known."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detkit.config import SearchConfig
from detkit.core.errors import DataError, TrainingError, UsageError
from detkit.core.serialization import from_json, from_plain, to_json
from detkit.engines import ENGINES
from detkit.nn.detector import Cost
from detkit.report import MeasuredFront, MeasuredPoint, SearchReport
from detkit.search.scoring.evaluators import EVALUATORS, Score
from detkit.search.scoring.objective import OBJECTIVES, with_bound
from detkit.search.scoring.proxy import PROXIES
from detkit.search.study.progress import SearchCallbacks
from detkit.search.study.study import run_search
from detkit.spec.arch import ArchSpec
from detkit.spec.json_file import read_spec
from detkit.spec.space import SPACES
from detkit.train.stop import StopSignal

CONFIG = SearchConfig(space="tiny", imgsz="64", trials=12, batch=4, classes=3)


def cheap_cost(spec: ArchSpec) -> Cost:
    """Grows with every knob of the space `tiny`."""
    size = spec.stem + sum(s.hidden * s.blocks * (1 + s.concat) for s in spec.stages)
    return Cost(parameters=10_000 * size + spec.head_widths[0], macs=1_000 * size**2)


class CheapLatency:
    """A millisecond for each million multiply-adds; with an error it is a prediction."""

    source = "cheap"

    def __init__(self, error: float = 0.0) -> None:
        self.error = error

    def __call__(self, spec: ArchSpec) -> dict[str, float]:
        found = with_bound(cheap_cost(spec).macs / 1e6, self.error)
        return {**found, "reference_ms": math.nan if self.error else 1.0}


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detkit.search.cluster.executor.LatencyMeter", lambda setup: CheapLatency())
    monkeypatch.setattr("detkit.search.study.study.cost_of", cheap_cost)


def run(
    out: Path,
    *,
    resume: bool = False,
    callbacks: SearchCallbacks | None = None,
    measured: Path | None = None,
    **changes: Any,
) -> SearchReport:
    config = dataclasses.replace(CONFIG, **changes)
    callbacks = callbacks or SearchCallbacks()
    report = run_search(
        config, out, resume=resume, force=False, callbacks=callbacks, measured=measured
    )
    assert report is not None
    return report


def test_front_is_on_disk_as_architectures_that_can_be_trained(tmp_path: Path) -> None:
    report = run(tmp_path / "out")
    assert report.trials == 12
    assert (
        json.loads((tmp_path / "out/pareto.json").read_text())
        == json.loads((tmp_path / "out/report.json").read_text())["pareto"]
    )
    latencies = [point.latency_ms for point in report.pareto]
    assert latencies == sorted(latencies)
    for point in report.pareto:
        path = tmp_path / "out" / "front" / f"{point.digest}.json"
        spec = read_spec(ArchSpec, path, "architecture")
        assert (spec.digest, point.measured, point.ap) == (point.digest, True, None)
        assert from_plain(ArchSpec, point.arch) == spec
    assert "<svg" in (tmp_path / "out/pareto.html").read_text()


def test_report_survives_json(tmp_path: Path) -> None:
    report = run(tmp_path / "out")
    assert from_json(SearchReport, (tmp_path / "out/report.json").read_text()) == report


def test_interrupted_search_resumed_is_the_search_never_stopped(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole")
    stop = StopSignal()
    lines = []

    def stop_early(status: Any) -> None:
        lines.append(status.line())
        if status.trials == 6:  # in the middle of a batch
            stop.signal = 2

    run(tmp_path / "cut", callbacks=SearchCallbacks(on_progress=stop_early, stop=stop))
    assert len(lines) == 6
    resumed = run(tmp_path / "cut", resume=True)
    assert resumed.trials == 12
    assert {p.digest for p in resumed.pareto} == {p.digest for p in whole.pareto}


@pytest.mark.parametrize("setting", ["max_latency_ms", "max_macs", "max_params"])
def test_limit_that_nothing_keeps_is_refused_with_what_the_smallest_takes(
    tmp_path: Path, setting: str
) -> None:
    limit: dict[str, Any] = {setting: 0.5}
    with pytest.raises(UsageError, match=rf"{setting} 0\.5: no architecture .* the smallest one"):
        run(tmp_path / "out", **limit)
    assert not (tmp_path / "out").exists()


def test_front_keeps_the_limit_and_nothing_over_it_is_scored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[float] = []

    def counted(
        config: SearchConfig, folder: Path, stop: StopSignal
    ) -> Callable[[ArchSpec, Cost], Score]:
        def evaluate(spec: ArchSpec, cost: Cost) -> Score:
            seen.append(cost.macs / 1e6)
            return Score(value=float(cost.parameters))

        return evaluate

    monkeypatch.setitem(EVALUATORS, "proxy", counted)
    free = run(tmp_path / "free")
    limit = sorted(point.latency_ms for point in free.pareto)[1]
    seen.clear()
    report = run(tmp_path / "bound", max_latency_ms=limit)
    assert report.over_limit > 0
    assert len(seen) == report.trials - report.over_limit
    assert max(seen) <= limit
    assert all(point.latency_ms <= limit for point in report.pareto)


def test_settings_allow_what_the_tables_hold() -> None:
    allowed = {
        item.name: set(item.metadata.get("choices", ()))
        for item in dataclasses.fields(SearchConfig)
    }
    assert allowed["evaluator"] == set(EVALUATORS)
    assert allowed["objective"] == set(OBJECTIVES)
    assert allowed["proxy"] == set(PROXIES)
    assert allowed["precision"] == {p for engine in ENGINES.values() for p in engine.precisions}


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_reports_a_front_of_score_and_cost(tmp_path: Path, objective: str) -> None:
    report = run(tmp_path / "out", objective=objective, cost="macs", trials=6)
    assert report.objective == objective
    assert report.pareto
    macs = [point.macs for point in report.pareto]
    assert macs == sorted(macs)


def test_trade_off_is_sought_where_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With cost weighing much, the cheapest network; with cost weighing nothing, the best one."""
    ends = {}
    for beta in (0.0, 1e3):
        report = run(
            tmp_path / str(beta), objective="weighted", beta=beta, searcher="evolution", trials=40
        )
        ends[beta] = report
    cheapest = SPACES["tiny"].for_task(3, (64, 64))
    digest = cheapest.to_arch(cheapest.smallest_point()).digest
    assert ends[1e3].pareto[0].digest == digest
    assert ends[0.0].pareto[-1].score >= ends[1e3].pareto[-1].score


def test_failed_training_is_counted_and_survived(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(
        config: SearchConfig, folder: Path, stop: StopSignal
    ) -> Callable[[ArchSpec, Cost], Score]:
        return lambda spec, cost: Score(value=math.nan if spec.stem == 8 else 1.0)

    monkeypatch.setitem(EVALUATORS, "proxy", failing)
    report = run(tmp_path / "out")
    assert 0 < report.failed < report.trials
    assert all(point.arch["stem"] != 8 for point in report.pareto)


def broken(kind: type[Exception], *, stem: int | None = None) -> Callable[..., Any]:
    """An evaluator that raises, for one stem or for all."""

    def make(
        config: SearchConfig, folder: Path, stop: StopSignal
    ) -> Callable[[ArchSpec, Cost], Score]:
        def evaluate(spec: ArchSpec, cost: Cost) -> Score:
            if stem in (None, spec.stem):
                raise kind("no kernel\nfor this")
            return Score(value=1.0)

        return evaluate

    return make


def test_architecture_that_cannot_be_run_fails_alone_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(EVALUATORS, "proxy", broken(RuntimeError, stem=8))
    lines: list[str] = []
    report = run(tmp_path / "out", callbacks=SearchCallbacks(log=lines.append))
    said = [line for line in lines if "score: RuntimeError: no kernel; recorded as failed" in line]
    assert 0 < report.failed == len(said) < report.trials == 12


@pytest.mark.parametrize("kind", [DataError, OSError])
def test_what_the_user_can_mend_ends_the_search_and_resume_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(EVALUATORS, "proxy", broken(kind))
        with pytest.raises(kind, match="no kernel"):
            run(tmp_path / "out")
    assert run(tmp_path / "out", resume=True).failed == 0


def test_search_in_which_everything_failed_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(EVALUATORS, "proxy", broken(RuntimeError))
    with pytest.raises(TrainingError, match="not one of 12 architectures could be scored"):
        run(tmp_path / "out")
    assert from_json(SearchReport, (tmp_path / "out/report.json").read_text()).failed == 12


def test_space_smaller_than_the_trials_is_searched_whole_and_that_is_said(tmp_path: Path) -> None:
    lines: list[str] = []
    callbacks = SearchCallbacks(log=lines.append)
    report = run(tmp_path / "out", trials=1000, searcher="random", batch=64, callbacks=callbacks)
    assert report.trials == report.space_size == 144
    assert lines[-1] == "the space holds no more architectures: 144 of 1000 trials"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"space": "huge"}, "unknown space"),
        ({"searcher": "tpe"}, "unknown searcher"),
        ({"searcher": "gradient"}, "can be differentiated"),
        ({"evaluator": "guess"}, "evaluator: expected proxy, supernet or train"),
        ({"evaluator": "train"}, "needs a COCO folder"),
        ({"proxy": "size"}, "proxy: expected flops"),
        ({"objective": "best"}, "objective: expected pareto"),
        ({"cost": "money"}, "cost: expected latency_ms"),
        ({"imgsz": "100"}, "multiples of 32"),
        ({"space": "none.json"}, "no such space file"),
    ],
)
def test_search_that_makes_no_sense_is_refused_and_leaves_nothing(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        run(tmp_path / "out", **changes)
    assert not (tmp_path / "out").exists()


def test_folder_with_something_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(UsageError, match="already exists"):
        run(tmp_path)
    with pytest.raises(UsageError, match="no search to resume"):
        run(tmp_path, resume=True)


# --- predicted latency ---------------------------------------------------------------------------

WHOLE: dict[str, Any] = {
    "searcher": "random",
    "trials": 1000,
    "batch": 64,
}  # every network of the space


@pytest.fixture
def predicted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Latencies are predictions that may be wrong by a fifth."""
    predictor = CheapLatency(0.2)
    monkeypatch.setattr("detkit.search.study.study.open_predictor", lambda config, space: predictor)


def measure_front(out: Path, sample: Callable[..., Any], factor: float, **fields: Any) -> Path:
    """What bench would make of the front, were every network `factor` times as slow as said."""
    points = json.loads((out / "pareto.json").read_text())
    networks = tuple(
        MeasuredPoint(
            name=point["name"],
            digest=point["digest"],
            searched_ms=point["latency_ms"],
            latency_ms=factor * point["latency_ms"],
        )
        for point in points
    )
    given = {"runtime": "onnxruntime", "precision": "fp32", "threads": 1, "networks": networks}
    path = out.with_suffix(".measured.json")
    path.write_text(to_json(sample(MeasuredFront, **{**given, **fields})))
    return path


def test_predicted_latency_is_marked_with_its_error(tmp_path: Path, predicted: None) -> None:
    lines = []
    callbacks = SearchCallbacks(on_progress=lambda status: lines.append(status.line()))
    report = run(tmp_path / "out", callbacks=callbacks)
    assert {(point.measured, point.latency_error) for point in report.pareto} == {(False, 0.2)}
    assert all("predicted" in line and "ms +- 20%" in line for line in lines)


def test_limit_is_kept_with_the_margin_of_the_error(tmp_path: Path, predicted: None) -> None:
    free = run(tmp_path / "free", **WHOLE)
    limit = sorted(point.latency_ms for point in free.pareto)[-1]
    report = run(tmp_path / "bound", **WHOLE, max_latency_ms=limit)
    assert report.over_limit > 0
    assert max(point.latency_ms for point in report.pareto) <= 0.8 * limit


def test_limit_below_the_smallest_prediction_says_what_that_is(
    tmp_path: Path, predicted: None
) -> None:
    with pytest.raises(UsageError, match=r"the smallest one takes predicted .* ms \+- 20%"):
        run(tmp_path / "out", max_latency_ms=0.5)


def test_measured_front_replaces_predictions_and_the_search_goes_on(
    tmp_path: Path, predicted: None, sample: Callable[..., Any]
) -> None:
    out = tmp_path / "out"
    before = run(out)
    measured = measure_front(out, sample, factor=1.5)
    report = run(out, resume=True, measured=measured, trials=14)
    assert report.trials == 14
    said = {point.digest: point.latency_ms for point in before.pareto}
    known = [point for point in report.pareto if point.digest in said]
    assert known
    for point in known:
        assert point.measured
        assert point.latency_ms == pytest.approx(1.5 * said[point.digest])
    others = [point for point in report.pareto if point.digest not in said]
    assert not any(point.measured for point in others)


def test_measured_network_over_the_limit_leaves_the_front(
    tmp_path: Path, predicted: None, sample: Callable[..., Any]
) -> None:
    out = tmp_path / "out"
    free = run(tmp_path / "free", **WHOLE)
    limit = sorted(point.latency_ms for point in free.pareto)[-1]
    before = run(out, **WHOLE, max_latency_ms=limit)
    measured = measure_front(out, sample, factor=1.5)
    report = run(out, resume=True, measured=measured, max_latency_ms=limit, **WHOLE)
    assert all(point.latency_ms <= limit for point in report.pareto)
    slowest = before.pareto[-1]
    assert 1.5 * slowest.latency_ms > limit
    assert slowest.digest not in {point.digest for point in report.pareto}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"precision": "int8"}, "measured with precision int8, the search is for fp32"),
        ({"runtime": "openvino"}, "measured with runtime openvino"),
        ({"networks": ()}, "none of the networks measured is a trial"),
    ],
)
def test_measurements_of_something_else_are_refused(
    tmp_path: Path,
    predicted: None,
    sample: Callable[..., Any],
    fields: dict[str, Any],
    message: str,
) -> None:
    run(tmp_path / "out", trials=4)
    measured = measure_front(tmp_path / "out", sample, 1.0, **fields)
    with pytest.raises(UsageError, match=message):
        run(tmp_path / "out", resume=True, measured=measured, trials=4)


def test_resumed_search_cannot_seek_something_else(tmp_path: Path) -> None:
    run(tmp_path / "out", trials=2)
    with pytest.raises(UsageError, match="cannot change objective"):
        run(tmp_path / "out", resume=True, objective="weighted")
    assert run(tmp_path / "out", resume=True, trials=4).trials == 4
