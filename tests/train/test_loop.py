"""A run from start to end, and the ways it can stop."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch

from detkit.artifact.artifact import read_manifest
from detkit.artifact.outputs import MARKER, begin_folder
from detkit.config import TrainConfig, resolve
from detkit.core.boxes import EVAL_NMS
from detkit.core.errors import ArtifactError, TrainingError, UsageError
from detkit.core.run_lock import LOCK
from detkit.core.serialization import from_json
from detkit.data.training.labels import Labels
from detkit.evaluation.evaluate import coco_figures
from detkit.inspection.run_folder import RESULTS_COLUMNS, read_results_table
from detkit.nn.checkpoint import load_checkpoint
from detkit.nn.detector import Detector
from detkit.report import Figures, TrainReport
from detkit.train.loss import DetectionLoss, LossParts
from detkit.train.optim import Ema
from detkit.train.progress import TrainProgress
from detkit.train.run import TrainRequest, resolve_config, run_training
from detkit.train.run_inputs import MAY_CHANGE
from detkit.train.stop import StopSignal

REQUEST = TrainRequest(flags={})


def train(
    config: TrainConfig,
    out: Path,
    request: TrainRequest = REQUEST,
    stop: StopSignal | None = None,
    seen: list[TrainProgress] | None = None,
    warnings: list[str] | None = None,
) -> TrainReport:
    told = seen if seen is not None else []
    warned = warnings if warnings is not None else []
    report = run_training(
        config,
        out,
        request,
        dry_run=False,
        log=lambda _: None,
        on_progress=told.append,
        stop=stop or StopSignal(),
        warn=warned.append,
    )
    assert report is not None
    return report


def test_a_run_leaves_its_whole_folder(config: TrainConfig, tmp_path: Path) -> None:
    seen: list[TrainProgress] = []
    report = train(config, tmp_path / "run", seen=seen)
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {
        MARKER,
        "config.toml",
        "metrics.jsonl",
        "results.csv",
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
    batches = [p.batch for p in seen if p.ap is None and p.scored is None]
    assert batches == [1, 2, 3, 4] * 2
    assert [(p.scored, p.to_score) for p in seen if p.scored is not None] == [(4, 4)] * 2
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


def test_weights_that_cannot_be_scored_name_the_learning_rate(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def infinite(ema: Ema, model: Detector) -> None:
        next(iter(ema.model.parameters())).data.fill_(float("inf"))

    monkeypatch.setattr(Ema, "update", infinite)
    steep = dataclasses.replace(config, optim=dataclasses.replace(config.optim, lr=8.0))
    with pytest.raises(TrainingError, match="the weights give NaN or Inf after epoch 1") as raised:
        train(steep, tmp_path / "run")
    assert "--set optim.lr=1.0e-03" in raised.value.hint
    assert not (tmp_path / "run" / "last.safetensors").exists()


def test_without_boxes_in_validation_the_last_weights_are_the_result(
    config: TrainConfig, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(config.data, tmp_path / "coco"))
    annotations = data / "annotations" / "instances_val.json"
    document = json.loads(annotations.read_text())
    annotations.write_text(json.dumps({**document, "annotations": []}))
    blind = dataclasses.replace(config, data=str(data), patience=1)
    seen: list[TrainProgress] = []
    warnings: list[str] = []
    report = train(blind, tmp_path / "run", seen=seen, warnings=warnings)
    assert (report.ap, report.ap50, report.best_epoch) == (None, None, None)
    assert (report.epochs, report.stopped_by) == (2, "epochs")  # nothing to be patient for
    assert report.checkpoint == str(tmp_path / "run" / "last.safetensors")
    assert not (tmp_path / "run" / "best.safetensors").exists()
    assert any("AP is undefined" in text for text in warnings)
    assert "AP undefined: no boxes in validation" in seen[-1].line()
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["ap"] for line in lines] == [None, None]
    assert "ap" not in read_manifest(Path(report.checkpoint)).metrics


def test_of_epochs_that_find_nothing_the_last_one_is_kept(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = dataclasses.replace(EVAL_NMS, score_threshold=0.999)
    monkeypatch.setattr("detkit.train.validation.EVAL_NMS", nothing)
    seen: list[TrainProgress] = []
    report = train(config, tmp_path / "run", seen=seen)
    assert (report.ap, report.best_epoch) == (0.0, 2)
    ends = [p.line() for p in seen if p.is_validated]
    assert [line.endswith("(no score above 0.01 yet)") for line in ends] == [True, True]
    assert report.checkpoint.endswith("best.safetensors")


def test_a_batch_of_one_value_a_channel_is_refused(config: TrainConfig, tmp_path: Path) -> None:
    tiny = dataclasses.replace(config, imgsz="32", batch=1)
    with pytest.raises(UsageError, match="one image of 32x32") as raised:
        train(tiny, tmp_path / "run")
    assert "--batch 2" in raised.value.hint
    assert not (tmp_path / "run").exists()


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
    smaller = TrainRequest(flags={"batch": 2}, resume=True)
    with pytest.raises(UsageError, match="cannot change batch") as raised:
        train(resolve_config(smaller, tmp_path / "run"), tmp_path / "run", smaller)
    assert all(name in raised.value.hint for name in MAY_CHANGE)


def test_a_run_goes_on_without_the_weights_it_began_from(
    config: TrainConfig, tmp_path: Path
) -> None:
    train(config, tmp_path / "first")
    first = tmp_path / "first" / "last.safetensors"
    config = dataclasses.replace(config, init=str(first), model="", epochs=1)
    train(config, tmp_path / "run")
    shutil.copytree(tmp_path / "run", tmp_path / "other")
    resumed = TrainRequest(flags={"epochs": 2}, resume=True)
    train(resolve_config(resumed, tmp_path / "other"), tmp_path / "other", resumed)
    first.unlink()
    report = train(resolve_config(resumed, tmp_path / "run"), tmp_path / "run", resumed)
    assert (report.init, report.weights_taken, report.epochs) == (str(first), 1.0, 2)
    ways = [load_checkpoint(tmp_path / name / "last.safetensors") for name in ("run", "other")]
    assert ways[0][1].parents == ways[1][1].parents != ()
    states = (model.state_dict().values() for model, _ in ways)
    assert all(torch.equal(a, b) for a, b in zip(*states, strict=True))
    fresh = TrainRequest(flags={}, resume=False)
    with pytest.raises(ArtifactError, match="no such file"):
        train(config, tmp_path / "another", fresh)


def test_a_run_killed_before_its_first_state_begins_again_and_one_with_a_lost_state_does_not(
    config: TrainConfig, tmp_path: Path
) -> None:
    config = dataclasses.replace(config, epochs=1)
    run = tmp_path / "run"
    train(config, run)
    whole, _ = load_checkpoint(run / "last.safetensors")
    (run / "state" / "state.safetensors").unlink()
    with pytest.raises(UsageError, match="already exists"):
        train(config, run)
    (run / LOCK).write_text('{"pid": 4194305, "host": "here", "since": "a kill -9"}')
    for request in (REQUEST, TrainRequest(flags={}, resume=True)):
        assert train(config, run, request).epochs == 1
        (run / "state" / "state.safetensors").unlink()
        again, _ = load_checkpoint(run / "last.safetensors")
        for a, b in zip(whole.state_dict().values(), again.state_dict().values(), strict=True):
            assert torch.equal(a, b)
        (run / LOCK).write_text('{"pid": 4194305, "host": "here", "since": "a kill -9"}')
    metrics = run / "metrics.jsonl"
    metrics.write_text(metrics.read_text() * 2)
    with pytest.raises(ArtifactError, match="2 epochs are done, but their state is gone"):
        train(config, run, TrainRequest(flags={}, resume=True))
    assert (run / "last.safetensors").is_file()


def test_a_run_killed_before_its_settings_were_written_asks_for_them(tmp_path: Path) -> None:
    (tmp_path / LOCK).write_text('{"pid": 4194305, "host": "here", "since": "a kill -9"}')
    with pytest.raises(UsageError, match="killed before its settings were written") as raised:
        resolve_config(TrainRequest(flags={}, resume=True), tmp_path)
    assert f"detkit train DIR -o {tmp_path} --resume" in raised.value.hint
    named = TrainRequest(flags={"data": str(tmp_path)}, resume=True)
    assert resolve_config(named, tmp_path).data == str(tmp_path)


def test_settings_are_written_before_anything_else(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("detkit.train.run._train", end)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "run")
    again = resolve_config(TrainRequest(flags={}, resume=True), tmp_path / "run")
    assert again == dataclasses.replace(config, init=again.init)


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
    assert report.epochs == 3


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


def test_the_table_of_results_is_that_of_the_metrics(config: TrainConfig, tmp_path: Path) -> None:
    report = train(config, tmp_path / "run")
    table = tmp_path / "run" / "results.csv"
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == RESULTS_COLUMNS
    for row, line in zip(rows, lines, strict=True):
        plain = json.loads(line)
        for name, cell in row.items():
            assert cell == ("" if plain[name] is None else f"{plain[name]:.6g}"), name
    assert read_results_table(table).facts["epochs"] == "2"
    kept = table.read_bytes()
    (tmp_path / "run" / "metrics.jsonl").write_text("\n".join([*lines, lines[1][:20]]))
    table.unlink()
    done = train(config, tmp_path / "run", dataclasses.replace(REQUEST, resume=True))
    assert done.epochs == report.epochs
    assert table.read_bytes() == kept


def test_a_checkpoint_holds_the_thresholds_of_its_own_validation(
    config: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    confidences = iter((0.5, 0.25))

    def score(*args: object, **more: object) -> Figures:
        figures = coco_figures(*args, **more)  # type: ignore[arg-type]
        return dataclasses.replace(figures, ap=0.5, confidence=next(confidences))

    monkeypatch.setattr("detkit.train.validation.coco_figures", score)
    monkeypatch.setattr("detkit.evaluation.score_thresholds.PRIOR_BOXES", 10**9)
    train(config, tmp_path / "run")
    found = [read_manifest(tmp_path / "run" / f"{name}.safetensors") for name in ("best", "last")]
    assert [set(manifest.score_thresholds) for manifest in found] == [{0.499}, {0.249}]
    assert [len(manifest.score_thresholds) for manifest in found] == [6, 6]
