"""A whole search with shared weights, the latency alone being cheap."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from detkit.artifact.artifact import read_manifest
from detkit.config import AugmentConfig, SearchConfig, SupernetConfig, TrainConfig
from detkit.core.errors import UsageError
from detkit.data.synthetic.synth import synthesize
from detkit.nn.detector import cost_of
from detkit.report import SearchReport
from detkit.search.cluster.executor import LocalExecutor
from detkit.search.scoring.objective import with_bound
from detkit.search.study.journal import Journal
from detkit.search.study.progress import SearchCallbacks
from detkit.search.study.study import run_search
from detkit.spec.arch import ArchSpec
from detkit.train.stop import StopSignal

LINES: list[str] = []


class CheapLatency:
    """A millisecond for each million multiply-adds."""

    source = "cheap"

    def __call__(self, spec: ArchSpec) -> dict[str, float]:
        return {**with_bound(cost_of(spec).macs / 1e6, 0.0), "reference_ms": 1.0}


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detkit.search.cluster.executor.LatencyMeter", lambda setup: CheapLatency())
    monkeypatch.setattr("detkit.search.scoring.relaxation.MEASURED", 6)
    monkeypatch.setattr("detkit.search.strategies.gradient.NUM_DESCENTS", 3)
    monkeypatch.setattr("detkit.search.strategies.gradient.STEPS", 3)
    monkeypatch.setattr("detkit.search.strategies.gradient.RANGE_SAMPLES", 1)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> SearchConfig:
    folder = tmp_path_factory.mktemp("shapes") / "coco"
    synthesize(folder, images={"train": 8, "val": 4}, size=64, seed=1)
    train = TrainConfig(
        batch=4, workers=0, threads=1, device="cpu", augment=AugmentConfig(close_epochs=0)
    )
    return SearchConfig(
        data=str(folder),
        space="tiny",
        imgsz="64",
        evaluator="supernet",
        trials=3,
        batch=3,
        supernet=SupernetConfig(epochs=1, random_nets=0, recalibration_batches=1),
        train=train,
    )


def run(config: SearchConfig, out: Path, *, resume: bool = False, **callbacks: Any) -> SearchReport:
    LINES.clear()
    report = run_search(
        config,
        out,
        resume=resume,
        force=False,
        callbacks=SearchCallbacks(log=LINES.append, **callbacks),
    )
    assert report is not None
    return report


def points_of(out: Path) -> list[dict[str, Any]]:
    journal = Journal(out / "journal.sqlite", {})
    points = [trial.point for trial in journal.completed()]
    journal.close()
    return points


class OnceThereIs(StopSignal):
    """A signal comes when a file is written."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def signal(self) -> int:
        return 15 * self.path.is_file()

    @signal.setter
    def signal(self, number: int) -> None:
        raise NotImplementedError


def test_front_is_of_ordinary_checkpoints_and_a_resumed_search_trains_nothing_again(
    config: SearchConfig, tmp_path: Path
) -> None:
    report = run(config, tmp_path / "out")
    assert report.evaluator == "supernet (1 epochs)"
    assert report.trials == 3
    for point in report.pareto:
        manifest = read_manifest(Path(point.checkpoint))
        assert (manifest.arch.digest, manifest.form) == (point.digest, "training")
        assert manifest.metrics["ap"] == point.ap == point.score
    assert any("supernet epoch 1/1" in line for line in LINES)
    again = run(dataclasses.replace(config, trials=4), tmp_path / "out", resume=True)
    assert again.trials == 4
    assert not any("epoch" in line for line in LINES if line.startswith("supernet "))
    limit = report.pareto[0].latency_ms * 1.1
    weights = str(tmp_path / "out" / "supernet" / "last.safetensors")
    sharing = dataclasses.replace(config.supernet, trained=weights)
    bound = dataclasses.replace(config, supernet=sharing, max_latency_ms=limit, trials=6)
    report = run(bound, tmp_path / "bound")
    assert report.max_latency_ms == limit
    assert 0 < report.over_limit < report.trials
    assert all(point.measured and point.latency_ms <= limit for point in report.pareto)


def test_search_interrupted_in_the_supernet_is_resumed(
    config: SearchConfig, tmp_path: Path
) -> None:
    stopped = run(config, tmp_path / "out", stop=StopSignal(signal=15))
    assert (stopped.trials, stopped.pareto) == (0, ())
    report = run(config, tmp_path / "out", resume=True)
    assert report.trials == 3
    assert all(point.checkpoint for point in report.pareto)


def test_gradient_descends_on_the_supernet_and_goes_on_after_a_signal(
    config: SearchConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where another candidate is under way, as on a cluster."""
    monkeypatch.setattr(LocalExecutor, "slots", 2)
    gradient = dataclasses.replace(config, searcher="gradient", trials=6)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    report = run(gradient, whole)
    assert any(line.startswith("descent 3/3, step 3/3: score ") for line in LINES)
    assert report.trials == 6
    assert (whole / "supernet" / "costs.json").is_file()
    assert all(point.checkpoint for point in report.pareto)
    run(gradient, cut, stop=OnceThereIs(cut / "searcher" / "descent-1.json"))
    assert [path.name for path in (cut / "searcher").iterdir()] == ["descent-1.json"]
    assert len(points_of(cut)) == 1
    run(gradient, cut, resume=True)
    assert points_of(cut) == points_of(whole)


def test_gradient_without_a_supernet_says_what_it_needs(
    config: SearchConfig, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="can be differentiated") as refused:
        run(dataclasses.replace(config, searcher="gradient", evaluator="proxy"), tmp_path / "out")
    assert "--evaluator supernet" in str(refused.value.hint)
