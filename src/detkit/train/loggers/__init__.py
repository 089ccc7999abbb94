"""Trackers that a run can also be followed with: a table of them, and how they are fed.

They are fed from `metrics.jsonl` after its epochs are saved, and add those that they do not have
yet. So a resumed run goes on where it was, without gaps or repeats, and a tracker that failed for
an hour catches up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from detkit.config import TrainConfig
from detkit.core.errors import UsageError, did_you_mean
from detkit.core.lazy_import import import_function
from detkit.inspection.run_folder import Epoch, read_metrics
from detkit.report import TrainReport
from detkit.train.state import METRICS

LOGGERS = {
    "tensorboard": "detkit.train.loggers.tensorboard:TensorBoardLogger",
    "mlflow": "detkit.train.loggers.mlflow:MlflowLogger",
}
# Their files in a run folder.
EVENT_FILE = "tensorboard/events.out.tfevents.0.detkit"  # readers look for `tfevents`
TRACKED_RUN = "state/mlflow.json"


class LoggerError(Exception):
    """A tracker did not take what it was given."""


class RunLogger(Protocol):
    """One tracker, opened for one run."""

    def log(self, epochs: Sequence[Epoch]) -> None:
        """Adds those epochs of the run that it does not have yet.

        Raises:
            LoggerError: it does not take them now.
        """
        ...

    def close(self, report: TrainReport | None) -> None:
        """Ends the record of the run; `report` is None where an error ended it.

        Raises:
            LoggerError: it cannot.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class LoggedRun:
    """What a tracker is told of a run; `resumed` where it was begun before."""

    folder: Path
    config: TrainConfig
    resumed: bool


def logger_names(text: str) -> tuple[str, ...]:
    """Names of trackers, separated by commas.

    Raises:
        UsageError: one that is not known.
        BackendError: one whose package is not installed.

    >>> logger_names("")
    ()
    """
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        if name not in LOGGERS:
            raise UsageError(f"loggers: unknown logger '{name}'", hint=did_you_mean(name, LOGGERS))
        import_function(name, LOGGERS[name])
    return names


class RunLoggers:
    """The trackers of one run; what goes wrong with one of them is told, and ends nothing."""

    def __init__(self, run: LoggedRun, warn: Callable[[str], None]) -> None:
        """Opens those that the settings name.

        Raises:
            BackendError: one is not installed, or cannot be reached.
        """
        self._metrics, self._warn = run.folder / METRICS, warn
        names = logger_names(run.config.loggers)
        self._loggers: dict[str, RunLogger] = {
            name: import_function(name, LOGGERS[name])(run) for name in names
        }

    def update(self) -> None:
        """Hands over the epochs that are saved by now."""
        if not self._loggers:
            return
        epochs = [epoch for _, epoch in read_metrics(self._metrics)]
        for name, logger in self._loggers.items():
            try:
                logger.log(epochs)
            except LoggerError as error:
                self._warn(f"{name} took no metrics, and is tried again next epoch: {error}")

    def close(self, report: TrainReport | None) -> None:
        """Ends all of them; `report` is None where an error ended the run."""
        for name, logger in self._loggers.items():
            try:
                logger.close(report)
            except LoggerError as error:
                self._warn(f"{name} does not have the end of the run: {error}")


def named_metrics(epoch: Epoch) -> dict[str, float]:
    """The figures of an epoch as trackers group them, `GROUP/NAME`."""
    grouped = {f"{_group(key)}/{key}": value for key, value in epoch.values.items() if _group(key)}
    per_class = {f"ap_of_class/{k}": ap for k, ap in epoch.per_class.items() if ap is not None}
    return {**grouped, **per_class}


def _group(key: str) -> str:
    """Where a figure belongs; empty for what says nothing over the epochs."""
    if key.startswith("loss"):
        return "train"
    if key in ("lr", "images_per_s", "data_wait_share", "seconds"):
        return "run"
    return "" if key in ("epochs", "batch", "batches") else "val"
