"""A run that several processes do together: its folder, how it stops, and how it goes on."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from detkit.config import TrainConfig
from detkit.core.boxes import Array
from detkit.core.errors import UsageError
from detkit.data.coco.folder import CocoSplit, open_folder
from detkit.data.eval_loader import eval_batches
from detkit.data.training.loader import TrainLoader
from detkit.nn.checkpoint import load_checkpoint
from detkit.spec.preprocess import Preprocess
from detkit.train import ranks
from detkit.train.progress import TrainProgress
from detkit.train.run import TrainRequest, run_training
from detkit.train.stop import StopSignal
from detkit.train.validation import dealt_out, in_order, validate
from fixtures.several_ranks import in_ranks

SIGTERM = 15


def train(
    config: TrainConfig,
    out: Path,
    *,
    resume: bool = False,
    signal_at: tuple[int, int] | None = None,
) -> tuple[str, int, list[str]]:
    """Why a run ended, the signal that it knows then, and what it warned of.

    Args:
        signal_at: (epoch, batch) after which the second process gets a signal.
    """
    stop = StopSignal()
    warnings: list[str] = []

    def watch(progress: TrainProgress) -> None:
        if ranks.rank() == 1 and (progress.epoch, progress.batch) == signal_at:
            stop.signal = SIGTERM

    report = run_training(
        config,
        out,
        TrainRequest(flags={}, resume=resume),
        dry_run=False,
        log=lambda _: None,
        on_progress=watch,
        stop=stop,
        warn=warnings.append,
    )
    assert report is not None
    return report.stopped_by, stop.signal, warnings


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(run / "last.safetensors")[0].state_dict()


def difference(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    return max(float((a[name].float() - b[name].float()).abs().max()) for name in a)


def metrics(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture
def summing(config: TrainConfig) -> TrainConfig:
    """Two epochs of four batches, of which two make one update; all in float32."""
    optim = dataclasses.replace(config.optim, accumulate=2)
    return dataclasses.replace(config, optim=optim, amp="off")


def test_a_run_of_two_processes_is_that_of_one(summing: TrainConfig, tmp_path: Path) -> None:
    gentle = dataclasses.replace(summing.optim, lr=1e-4)  # AdamW makes much of small noise
    summing = dataclasses.replace(summing, optim=gentle)
    train(summing, tmp_path / "one")
    in_ranks(2, lambda: train(summing, tmp_path / "two"))
    names = [{path.name for path in (tmp_path / run).iterdir()} for run in ("one", "two")]
    assert names[0] == names[1]
    pairs = zip(metrics(tmp_path / "one"), metrics(tmp_path / "two"), (1e-3, 1e-2), strict=True)
    for one, two, tolerance in pairs:
        assert two["loss"] == pytest.approx(one["loss"], rel=tolerance)
        assert (two["epoch"], two["batch"], two["lr"]) == (one["epoch"], one["batch"], one["lr"])
    assert difference(weights(tmp_path / "one"), weights(tmp_path / "two")) < 0.01
    log = (tmp_path / "two" / "log.txt").read_text().splitlines()
    assert len([line for line in log if line.startswith("epoch")]) == 2


def test_a_signal_to_one_stops_all_at_a_step_from_which_the_same_bits_come(
    summing: TrainConfig, tmp_path: Path
) -> None:
    """Between two batches of an update, where each process has gradients of its own."""
    summing = dataclasses.replace(summing, sync_bn="off")
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    in_ranks(2, lambda: train(summing, whole))
    ended = in_ranks(2, lambda: train(summing, stopped, signal_at=(2, 2)))
    assert [(why, signal) for why, signal, _ in ended] == [("signal", SIGTERM)] * 2
    assert len(metrics(stopped)) == 1
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "state").mkdir()
    for name in ("config.toml", "metrics.jsonl", "last.safetensors", "state/state.safetensors"):
        (alone / name).write_bytes((stopped / name).read_bytes())
    again = in_ranks(2, lambda: train(summing, stopped, resume=True))
    assert [(why, warnings) for why, _, warnings in again] == [("epochs", [])] * 2
    assert difference(weights(whole), weights(stopped)) == 0
    why, _, (warning,) = train(summing, alone, resume=True)
    assert why == "epochs"
    assert "processes 2 -> 1" in warning
    assert "images of a batch-norm 2 -> 4" in warning


def test_a_batch_that_cannot_be_shared_evenly_is_refused(
    config: TrainConfig, tmp_path: Path
) -> None:
    def work() -> tuple[str, str]:
        try:
            train(config, tmp_path / "run")
        except UsageError as error:
            return str(error), error.hint
        return "", ""

    for text, hint in in_ranks(3, work):
        assert text == "3 processes cannot share a batch of 4 images evenly"
        assert hint == "--batch 6, or a number of processes that divides it: 1, 2, 4"
    assert not (tmp_path / "run").exists()


def test_loaders_of_all_parts_show_what_one_of_the_whole_does(
    config: TrainConfig, shapes: Path
) -> None:
    split = open_folder(shapes, splits=("train",)).splits["train"]

    def batches(share: tuple[int, int]) -> list[Any]:
        loader = TrainLoader(
            split, size=(64, 64), augment=config.augment, seed=1, batch_size=8, share=share
        )
        return list(loader.epoch(1))

    parts = [batches((number, 4)) for number in range(4)]
    for number, whole in enumerate(batches((0, 1))):
        images = torch.cat([part[number].images_on(torch.device("cpu")) for part in parts])
        assert torch.equal(images, whole.images_on(torch.device("cpu")))
        boxes = torch.cat([part[number].labels.boxes for part in parts])
        assert torch.equal(boxes[:, 1:], whole.labels.boxes[:, 1:])


class Approximate:
    """A session that gives each image its own boxes, moved a little."""

    engine = "a test"

    def __init__(self, val: CocoSplit, preprocess: Preprocess) -> None:
        self.manifest: Any = type("Manifest", (), {"preprocess": preprocess})
        self.labels = {}
        for batch in eval_batches(val.records, preprocess, 1):
            (record,) = batch.records
            self.labels[batch.images.tobytes()] = record

    def run(self, images_bchw: Array) -> tuple[Array, Array]:
        boxes, scores = np.zeros((len(images_bchw), 20, 4)), np.zeros((len(images_bchw), 20, 6))
        for row, image in enumerate(images_bchw):
            record = self.labels[image[None].tobytes()]
            rng = np.random.default_rng(len(record.classes))
            for k, (box, label) in enumerate(zip(record.boxes_xyxy, record.classes, strict=True)):
                boxes[row, k] = box * 64 / record.width + rng.normal(0, 2, 4)
                scores[row, k, label] = rng.random()
        return boxes.astype(np.float32), scores.astype(np.float32)


def test_validation_dealt_out_to_two_processes_has_the_figures_of_one(shapes: Path) -> None:
    val = open_folder(shapes, splits=("train",)).splits["train"]  # it has more images
    session: Any = Approximate(val, Preprocess.filling((64, 64)))
    alone = validate(session, val, batch_size=3)
    first, second = in_ranks(2, lambda: validate(session, val, batch_size=3))
    assert alone.figures.ap is not None
    assert 0.05 < alone.figures.ap < 0.95
    assert first.figures == second.figures == alone.figures
    assert len(first.detections) == len(val.records)
    assert len(second.detections) < len(val.records)


@pytest.mark.parametrize("count", [0, 1, 7, 8, 20])
@pytest.mark.parametrize("hands", [1, 2, 3])
def test_batches_that_were_dealt_out_come_back_in_order(count: int, hands: int) -> None:
    items: Sequence[int] = range(count)
    dealt = [dealt_out(items, 4, number, hands) for number in range(hands)]
    assert in_order(dealt, 4) == list(items)
