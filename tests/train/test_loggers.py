"""Trackers are given every saved epoch once, whatever happens in between."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from detkit.config import TrainConfig
from detkit.core.content_digest import seal
from detkit.core.errors import BackendError, UsageError
from detkit.inspection.run_folder import Epoch
from detkit.report import TrainReport
from detkit.train import loggers
from detkit.train.loggers import (
    EVENT_FILE,
    LoggedRun,
    LoggerError,
    RunLoggers,
    logger_names,
    named_metrics,
)
from detkit.train.state import METRICS


class Tracker:
    """Takes each epoch after `refused` calls."""

    refused = 0

    def __init__(self, run: LoggedRun) -> None:
        self.epochs: list[int] = []
        self.report: TrainReport | str | None = "open"

    def log(self, epochs: Sequence[Epoch]) -> None:
        if Tracker.refused:
            Tracker.refused -= 1
            raise LoggerError("the network is down")
        self.epochs += [e.number for e in epochs if e.number not in self.epochs]

    def close(self, report: TrainReport | None) -> None:
        self.report = report
        raise LoggerError("no answer")


def write_epochs(folder: Path, *numbers: int) -> None:
    lines = [json.dumps(seal(plain_epoch(number))) for number in numbers]
    (folder / METRICS).write_text("".join(f"{line}\n" for line in lines))


def plain_epoch(number: int) -> dict[str, Any]:
    figures = {"ap": number / 10, "loss": 1.0, "lr": 0.1, "batches": 4, "seconds": 2.0 * number}
    return {"epoch": number, **figures, "per_class": {"a:b": 0.5, "none": None}}


def logged(folder: Path, names: str, *, resumed: bool = False) -> LoggedRun:
    return LoggedRun(folder=folder, config=TrainConfig(loggers=names), resumed=resumed)


def test_a_tracker_that_failed_catches_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(loggers.LOGGERS, "mine", f"{__name__}:Tracker")
    monkeypatch.setitem(sys.modules, __name__, sys.modules[Tracker.__module__])
    monkeypatch.setattr(Tracker, "refused", 1)
    warnings: list[str] = []
    tracked = RunLoggers(logged(tmp_path, "mine"), warnings.append)
    (tracker,) = tracked._loggers.values()
    assert isinstance(tracker, Tracker)
    write_epochs(tmp_path, 1)
    tracked.update()
    assert tracker.epochs == []
    assert warnings == ["mine took no metrics, and is tried again next epoch: the network is down"]
    write_epochs(tmp_path, 1, 2)
    tracked.update()
    tracked.update()
    assert tracker.epochs == [1, 2]
    tracked.close(None)
    assert tracker.report is None
    assert "no answer" in warnings[-1]


def test_figures_are_grouped_and_undefined_ones_left_out() -> None:
    plain = plain_epoch(1)
    epoch = Epoch(number=1, values={"ap": 0.1, **plain}, per_class=plain["per_class"])
    epoch.values.pop("epoch")
    epoch.values.pop("per_class")
    assert named_metrics(epoch) == {
        "val/ap": 0.1,
        "train/loss": 1.0,
        "run/lr": 0.1,
        "run/seconds": 2.0,
        "ap_of_class/a:b": 0.5,
    }


def test_unknown_and_missing_loggers_are_refused_before_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(UsageError, match="unknown logger 'tensorbord'") as caught:
        logger_names("tensorbord")
    assert caught.value.hint == "did you mean 'tensorboard'?"
    for name in loggers.LOGGERS:
        monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.delitem(sys.modules, f"detkit.train.loggers.{name}", raising=False)
        with pytest.raises(BackendError, match=f"{name} is not installed") as missing:
            logger_names(name)
        assert name in missing.value.hint


def test_tensorboard_reads_every_epoch_once_after_a_kill(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed here")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    write_epochs(tmp_path, 1, 2, 3)
    RunLoggers(logged(tmp_path, "tensorboard"), pytest.fail).update()
    write_epochs(tmp_path, 1, 2)  # the state that is resumed knows of two
    resumed = RunLoggers(logged(tmp_path, "tensorboard", resumed=True), pytest.fail)
    resumed.update()
    write_epochs(tmp_path, 1, 2, 3, 4)
    resumed.update()
    resumed.close(None)
    events = EventAccumulator(str((tmp_path / EVENT_FILE).parent)).Reload()
    scalars = events.Scalars("val/ap")
    assert [(e.step, round(e.value, 3)) for e in scalars] == [(n, n / 10) for n in (1, 2, 3, 4)]
    assert scalars[1].wall_time - scalars[0].wall_time == pytest.approx(2, abs=1e-3)
    assert events.Tags()["tensors"] == ["settings/text_summary"]


def test_mlflow_goes_on_in_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed here")
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'store.db'}")
    write_epochs(tmp_path, 1, 2)
    first = RunLoggers(logged(tmp_path, "mlflow"), pytest.fail)
    first.update()
    first.close(None)
    write_epochs(tmp_path, 1, 2, 3)
    second = RunLoggers(logged(tmp_path, "mlflow", resumed=True), pytest.fail)
    second.update()
    second.close(None)
    client = mlflow.MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("detkit").experiment_id])
    assert (run.info.status, run.data.params["optim.lr"]) == ("FAILED", "0.001")
    history = client.get_metric_history(run.info.run_id, "val/ap")
    assert [(m.step, m.value) for m in history] == [(n, n / 10) for n in (1, 2, 3)]
