"""A run from start to end, and the ways it can stop."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from detkit.artifact.artifact import read_manifest
from detkit.artifact.outputs import begin_folder
from detkit.config import TrainConfig, resolve
from detkit.core.errors import TrainingError, UsageError
from detkit.core.serialization import from_json
from detkit.data.training.labels import Labels
from detkit.nn.checkpoint import load_checkpoint
from detkit.report import TrainReport
from detkit.train.loss import DetectionLoss, LossParts
from detkit.train.progress import TrainProgress
from detkit.train.run import MAY_CHANGE, TrainRequest, resolve_config, run_training
from detkit.train.stop import StopSignal

REQUEST = TrainRequest(flags={})


def train(
    config: TrainConfig,
    out: Path,
    request: TrainRequest = REQUEST,
    stop: StopSignal | None = None,
    seen: list[TrainProgress] | None = None,
) -> TrainReport:
    told = seen if seen is not None else []
    report = run_training(
        config,
        out,
        request,
        dry_run=False,
        log=lambda _: None,
        on_progress=told.append,
        stop=stop or StopSignal(),
    )
    assert report is not None
    return report


def test_a_run_leaves_its_whole_folder(config: TrainConfig, tmp_path: Path) -> None:
    seen: list[TrainProgress] = []
    report = train(config, tmp_path / "run", seen=seen)
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {
        "config.toml",
        "metrics.jsonl",
        "best.safetensors",
        "last.safetensors",
        "report.json",
        "report.html",
        "log.txt",
        "state",
        "train_batch.jpg",
        "val_detections.jpg",
    }
    assert report.checkpoint == str(tmp_path / "run" / "best.safetensors")
    assert (report.epochs, report.stopped_by) == (2, "epochs")
    text = (tmp_path / "run" / "report.json").read_text()
    assert from_json(TrainReport, text) == report
    assert resolve(TrainConfig, file=tmp_path / "run" / "config.toml") == config
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2]
    best = read_manifest(Path(report.checkpoint))
    assert best.metrics["epoch"] == report.best_epoch
    assert best.data == config.data
    assert [p.batch for p in seen if p.ap is None] == [1, 2, 3, 4] * 2
    line = seen[-1].line()
    for word in ("loss", "cls", "iou", "dfl", "lr", "img/s", "data", "eta", "AP"):
        assert word in line


def test_a_divergent_run_stops_with_the_last_good_weights(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sane, calls = DetectionLoss.forward, iter(range(100))

    def diverging(
        self: DetectionLoss, logits: torch.Tensor, distances: torch.Tensor, labels: Labels
    ) -> LossParts:
        parts = sane(self, logits, distances, labels)
        bad = float("nan") if next(calls) == 5 else 1.0
        return dataclasses.replace(parts, total=parts.total * bad)

    monkeypatch.setattr(DetectionLoss, "forward", diverging)
    with pytest.raises(TrainingError, match="not finite at epoch 2, batch 2") as raised:
        train(config, tmp_path / "run")
    assert "last.safetensors" in str(raised.value)
    assert "optim.lr" in raised.value.hint
    model, _ = load_checkpoint(tmp_path / "run" / "last.safetensors")
    assert all(torch.isfinite(tensor).all() for tensor in model.state_dict().values())


def test_an_interrupted_run_goes_on_to_the_same_weights(
    config: TrainConfig, tmp_path: Path
) -> None:
    train(config, tmp_path / "whole")
    stop = StopSignal()

    class StopAt(list[TrainProgress]):
        def append(self, progress: TrainProgress) -> None:
            if progress.epoch == 2 and progress.batch == 2:
                stop.signal = 15

    report = train(config, tmp_path / "cut", stop=stop, seen=StopAt())
    assert report.stopped_by == "signal"
    resumed = train(config, tmp_path / "cut", TrainRequest(flags={}, resume=True))
    assert resumed.stopped_by == "epochs"
    for name in ("best", "last"):
        one, _ = load_checkpoint(tmp_path / "whole" / f"{name}.safetensors")
        two, _ = load_checkpoint(tmp_path / "cut" / f"{name}.safetensors")
        for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True):
            assert torch.equal(a, b)
    whole, cut = (
        [json.loads(text) for text in (tmp_path / run / "metrics.jsonl").read_text().splitlines()]
        for run in ("whole", "cut")
    )
    assert [(m["loss"], m["ap"]) for m in whole] == [(m["loss"], m["ap"]) for m in cut]


def test_a_resumed_run_may_be_longer_but_not_another(config: TrainConfig, tmp_path: Path) -> None:
    train(config, tmp_path / "run")
    longer = resolve_config(TrainRequest(flags={"epochs": 3}, resume=True), tmp_path / "run")
    assert longer == dataclasses.replace(config, epochs=3)
    report = train(longer, tmp_path / "run", TrainRequest(flags={}, resume=True))
    assert report.epochs == 3
    with pytest.raises(UsageError, match="cannot change batch") as raised:
        resolve_config(TrainRequest(flags={"batch": 2}, resume=True), tmp_path / "run")
    assert all(name in raised.value.hint for name in MAY_CHANGE)


def test_time_limit_and_patience_end_a_run(config: TrainConfig, tmp_path: Path) -> None:
    limited = dataclasses.replace(config, epochs=10_000, time_limit=0.03)
    report = train(limited, tmp_path / "limited")
    assert report.stopped_by == "time-limit"
    assert report.epochs < 100
    frozen = dataclasses.replace(
        config,
        epochs=50,
        patience=2,
        optim=dataclasses.replace(config.optim, lr=1e-9),
    )
    report = train(frozen, tmp_path / "patient")
    assert report.stopped_by == "patience"
    assert report.epochs == report.best_epoch + 2


def test_accumulated_batches_make_one_step(config: TrainConfig, tmp_path: Path) -> None:
    from safetensors import safe_open

    accumulating = dataclasses.replace(
        config, epochs=1, optim=dataclasses.replace(config.optim, accumulate=3)
    )
    train(accumulating, tmp_path / "run")
    with safe_open(tmp_path / "run" / "state" / "state.safetensors", framework="pt") as file:
        place = json.loads(file.metadata()["state"])
    assert place["step"] == 2  # four batches: three, and the rest of the epoch


def test_a_full_folder_is_refused_and_force_removes_only_what_is_ours(
    config: TrainConfig, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    begin_folder(out, "train", ("best.safetensors",))
    (out / "notes.txt").write_text("mine")
    (out / "best.safetensors").write_text("old")
    with pytest.raises(UsageError, match="already exists"):
        train(config, out)
    short = dataclasses.replace(config, epochs=1)
    train(short, out, TrainRequest(flags={}, force=True))
    assert (out / "notes.txt").read_text() == "mine"
    read_manifest(out / "best.safetensors")
