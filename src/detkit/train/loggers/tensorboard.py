"""TensorBoard: an event file in the run folder, which `tensorboard --logdir` follows.

It has one name and nothing but what `metrics.jsonl` says, so a resumed run writes it anew as far as
its epochs are saved, and goes on. Needs the package tensorboard, and no TensorFlow.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
from tensorboard.compat.proto.types_pb2 import DT_STRING
from tensorboard.summary.writer.record_writer import RecordWriter

from detkit.artifact.writing import append_bytes, write_bytes
from detkit.config import to_toml
from detkit.core.errors import DetkitError
from detkit.inspection.run_folder import Epoch
from detkit.report import TrainReport
from detkit.train.loggers import EVENT_FILE, LoggedRun, LoggerError, named_metrics
from detkit.train.state import METRICS


class TensorBoardLogger:
    """See `train.loggers.RunLogger`."""

    def __init__(self, run: LoggedRun) -> None:
        self._path, self._metrics = run.folder / EVENT_FILE, run.folder / METRICS
        self._settings = to_toml(run.config)
        self._last = 0  # epoch in the file; 0 before it is written by this process

    def log(self, epochs: Sequence[Epoch]) -> None:
        new = [epoch for epoch in epochs if epoch.number > self._last]
        if not new:
            return
        began = _began(self._metrics, epochs[-1])
        events = [_epoch_event(epoch, began) for epoch in new]
        try:
            if self._last:
                append_bytes(self._path, _records(events))
            else:
                write_bytes(self._path, _records([*_first_events(self._settings, began), *events]))
        except DetkitError as error:
            raise LoggerError(str(error)) from error
        self._last = new[-1].number

    def close(self, report: TrainReport | None) -> None:
        del report


def _began(metrics: Path, last: Epoch) -> float:
    """When the run began, its breaks left out, in seconds since 1970: by the age of the metrics."""
    return metrics.stat().st_mtime - last.values.get("seconds", 0.0)


def _first_events(settings: str, began: float) -> list[Event]:
    """The version that a file begins with, and the settings as text."""
    text = TensorProto(
        dtype=DT_STRING,
        string_val=["".join(f"    {line}\n" for line in settings.splitlines()).encode()],
        tensor_shape=TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)]),
    )
    plugin = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
    value = Summary.Value(tag="settings/text_summary", metadata=plugin, tensor=text)
    return [
        Event(wall_time=began, file_version="brain.Event:2"),
        Event(wall_time=began, step=0, summary=Summary(value=[value])),
    ]


def _epoch_event(epoch: Epoch, began: float) -> Event:
    values = [Summary.Value(tag=tag, simple_value=x) for tag, x in named_metrics(epoch).items()]
    wall_time = began + epoch.values.get("seconds", 0.0)
    return Event(wall_time=wall_time, step=epoch.number, summary=Summary(value=values))


def _records(events: Sequence[Event]) -> bytes:
    """The events as a TFRecord file holds them, each with its checksums."""
    file = io.BytesIO()
    writer = RecordWriter(file)
    for event in events:
        writer.write(event.SerializeToString())
    return file.getvalue()
