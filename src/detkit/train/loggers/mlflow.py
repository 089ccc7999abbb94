"""MLflow: a run in the tracking store that MLflow itself would use.

That is what MLFLOW_TRACKING_URI names, else a database in the working directory; the experiment is
MLFLOW_EXPERIMENT_NAME or `detkit`. The run's id is kept in the run folder, so that a resumed
training goes on in the same run. MLflow's own telemetry is switched off.
"""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # before the import, which reads it
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")

import mlflow
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException

from detkit.artifact.writing import write_text
from detkit.config import TrainConfig, settings_by_key
from detkit.core.errors import BackendError, DetkitError
from detkit.core.reading import text_of
from detkit.core.serialization import from_json, to_json
from detkit.inspection.run_folder import Epoch
from detkit.report import TrainReport
from detkit.train.loggers import TRACKED_RUN, LoggedRun, LoggerError, named_metrics
from detkit.train.state import METRICS

EXPERIMENT = "detkit"
ARTIFACTS = ("config.toml", "results.csv", "report.json")  # that are copied at the end
MAX_PARAM = 500  # characters that every store takes
MAX_BATCH = 100  # parameters a request
ODD = re.compile(r"[^\w\-. :/]")  # characters that no metric may have in its name
LOSS = "train/loss"  # a figure that every epoch has

logging.getLogger("alembic").setLevel(logging.WARNING)


@dataclass(frozen=True, kw_only=True)
class TrackedRun:
    """Where a run is tracked."""

    tracking_uri: str
    run_id: str


class MlflowLogger:
    """See `train.loggers.RunLogger`."""

    def __init__(self, run: LoggedRun) -> None:
        """Begins a run in the store, or finds that of the training which is resumed.

        Raises:
            BackendError: the store cannot be reached.
        """
        self._folder = run.folder
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._tracked = _begun(run) or _begin(run)
                self._client = mlflow.MlflowClient(self._tracked.tracking_uri)
                self._client.update_run(self._tracked.run_id, "RUNNING")
                self._last = self._last_epoch()
        except (MlflowException, OSError) as error:
            raise BackendError(
                f"mlflow: {_first_line(error)}",
                hint="MLFLOW_TRACKING_URI names the store, such as sqlite:////home/me/mlflow.db",
            ) from error

    def log(self, epochs: Sequence[Epoch]) -> None:
        for epoch in epochs:
            if epoch.number <= self._last:
                continue
            try:
                self._client.log_batch(self._tracked.run_id, metrics=self._metrics_of(epoch))
            except (MlflowException, OSError) as error:
                raise LoggerError(_first_line(error)) from error
            self._last = epoch.number

    def close(self, report: TrainReport | None) -> None:
        status = "FAILED" if report is None else "FINISHED"
        if report is not None and report.stopped_by == "signal":
            status = "KILLED"
        try:
            for path in (self._folder / name for name in ARTIFACTS):
                if report is not None and path.is_file():
                    self._client.log_artifact(self._tracked.run_id, str(path))
            if report is not None:
                checkpoint = Path(report.checkpoint)
                self._client.set_tag(self._tracked.run_id, "checkpoint", str(checkpoint.resolve()))
            self._client.set_terminated(self._tracked.run_id, status)
        except (MlflowException, OSError) as error:
            raise LoggerError(_first_line(error)) from error

    def _last_epoch(self) -> int:
        """The last epoch that the store has."""
        history = self._client.get_metric_history(self._tracked.run_id, LOSS)
        return max((metric.step for metric in history), default=0)

    def _metrics_of(self, epoch: Epoch) -> list[Metric]:
        at = round((self._folder / METRICS).stat().st_mtime * 1000)
        named = named_metrics(epoch).items()
        return [Metric(ODD.sub("_", name), value, at, epoch.number) for name, value in named]


def _begun(run: LoggedRun) -> TrackedRun | None:
    """The tracked run of a training that is resumed, if its store still has it."""
    path = run.folder / TRACKED_RUN
    if not (run.resumed and path.is_file()):
        return None
    try:
        tracked = from_json(TrackedRun, text_of(path))
        mlflow.MlflowClient(tracked.tracking_uri).get_run(tracked.run_id)
    except (DetkitError, MlflowException, OSError):
        return None
    return tracked


def _begin(run: LoggedRun) -> TrackedRun:
    """Makes a run in the store, with the settings as parameters."""
    uri = mlflow.get_tracking_uri()
    client = mlflow.MlflowClient(uri)
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
    found = client.get_experiment_by_name(name)
    experiment = found.experiment_id if found else client.create_experiment(name)
    made = client.create_run(experiment, run_name=run.folder.name)
    params = _params(run.config)
    for start in range(0, len(params), MAX_BATCH):
        client.log_batch(made.info.run_id, params=params[start : start + MAX_BATCH])
    client.set_tag(made.info.run_id, "run_folder", str(run.folder.resolve()))
    tracked = TrackedRun(tracking_uri=uri, run_id=made.info.run_id)
    write_text(run.folder / TRACKED_RUN, to_json(tracked) + "\n")
    return tracked


def _params(config: TrainConfig) -> list[Param]:
    return [Param(key, str(value)[:MAX_PARAM]) for key, value in settings_by_key(config).items()]


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
