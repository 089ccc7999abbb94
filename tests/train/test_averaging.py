"""The best epochs are kept by their weights, and their mean where it scores higher."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from detkit.artifact.artifact import read_manifest
from detkit.config import TrainConfig
from detkit.evaluation.evaluate import coco_figures
from detkit.nn.checkpoint import load_checkpoint, save_checkpoint
from detkit.report import Figures, TrainReport
from detkit.train.averaging import KEPT_FILES, mean_of, slot_for
from detkit.train.run import TrainRequest, run_training
from detkit.train.state import KeptEpoch
from detkit.train.stop import StopSignal


@pytest.mark.parametrize(
    ("aps", "most", "slot"),
    [([], 0, None), ([], 1, 0), ([0.5], 2, 1), ([0.5, 0.3, 0.4], 3, 1), ([0.5, 0.45], 2, None)],
)
def test_the_worst_epoch_makes_room(aps: list[float], most: int, slot: int | None) -> None:
    kept = [KeptEpoch(epoch=n, ap=ap) for n, ap in enumerate(aps)]
    assert slot_for(kept, 0.42, most=most) == slot


def test_weights_and_statistics_are_averaged_of_what_is_still_there(
    checkpoint: Path, tmp_path: Path
) -> None:
    model, manifest = load_checkpoint(checkpoint)
    (tmp_path / "state").mkdir()
    for epoch, name in enumerate(KEPT_FILES[:3], start=1):
        with torch.no_grad():
            for tensor in model.state_dict().values():
                tensor.fill_(epoch)
        metrics = {"epoch": float(epoch)}
        save_checkpoint(tmp_path / name, model, dataclasses.replace(manifest, metrics=metrics))
    kept = [KeptEpoch(epoch=n, ap=0.5) for n in (1, 7, 3)]  # another epoch lies in the second slot
    mean = mean_of(model, kept, tmp_path)
    assert mean is not None
    assert {float(t.detach().mean()) for t in mean.parameters()} == {2.0}
    assert {float(t.mean()) for n, t in mean.named_buffers() if "running" in n} == {2.0}
    assert mean_of(model, kept[:2], tmp_path) is None  # one is left


def train(config: TrainConfig, out: Path, *, resume: bool = False) -> tuple[TrainReport, list[str]]:
    lines: list[str] = []
    report = run_training(
        config,
        out,
        TrainRequest(flags={}, resume=resume),
        dry_run=False,
        log=lines.append,
        on_progress=lambda _: None,
        stop=StopSignal(),
    )
    assert report is not None
    return report, lines


@pytest.fixture
def score(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets validations have these APs, one after the other."""

    def set_aps(*aps: float) -> None:
        left = iter(aps)

        def figures(*args: object, **more: object) -> Figures:
            found = coco_figures(*args, **more)  # type: ignore[arg-type]
            return dataclasses.replace(found, ap=next(left), ap50=0.9)

        monkeypatch.setattr("detkit.train.validation.coco_figures", figures)

    return set_aps


def test_the_mean_is_the_best_where_it_scores_higher_and_only_there(
    config: TrainConfig, tmp_path: Path, score: Callable[..., None]
) -> None:
    two = dataclasses.replace(config, average_best=2)
    score(0.1, 0.2, 0.3)
    report, lines = train(two, tmp_path / "better")
    assert report.averaged is not None
    assert (report.averaged.kept, report.ap, report.best_epoch) == (True, 0.3, 2)
    assert lines[-1] == (
        "mean weights of epochs 1, 2: AP 0.3000, and 0.2000 of the best one: kept as the best"
    )
    best = read_manifest(tmp_path / "better" / "best.safetensors")
    assert (best.metrics["ap"], best.metrics["averaged"]) == (0.3, 2)

    score()  # of a finished run nothing is scored again
    again, _ = train(two, tmp_path / "better", resume=True)
    assert (again.ap, again.averaged) == (0.3, report.averaged)

    score(0.25, 0.28)  # a longer run: an epoch, and the mean of the two best ones
    longer, lines = train(dataclasses.replace(two, epochs=3), tmp_path / "better", resume=True)
    assert longer.averaged is not None
    assert (longer.ap, longer.averaged.epochs, longer.averaged.kept) == (0.3, (2, 3), False)
    assert any(line.startswith("3 epochs instead of 2: from here on") for line in lines)
    assert read_manifest(tmp_path / "better" / "best.safetensors").digest == best.digest


def test_a_mean_that_scores_lower_leaves_the_best_epoch(
    config: TrainConfig, tmp_path: Path, score: Callable[..., None]
) -> None:
    score(0.1, 0.2, 0.15)
    report, _ = train(dataclasses.replace(config, average_best=2), tmp_path / "run")
    assert (report.ap, report.averaged and report.averaged.kept) == (0.2, False)
    assert "averaged" not in read_manifest(tmp_path / "run" / "best.safetensors").metrics
