"""The Session of every exported graph; what an engine's own file adds is how a graph is run.

A `GraphRunner` is made by an engine's own file (see `engines`) and knows neither manifests nor
detections. Here are the graphs that `detkit export` writes: raw outputs or NMS in the graph, float
or uint8 input. Those of other tools are in `runtime.described_session`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from detkit.artifact.artifact import Signature
from detkit.core.boxes import Array
from detkit.core.errors import ArtifactError
from detkit.runtime.session import Pixels, Session, SuppressedOutputs, takes_pixels

RAW = ("boxes", "scores")
SUPPRESSED = ("num_dets", "det_boxes", "det_scores", "det_classes")
FLAT = ("detections",)


class EngineRefusalError(Exception):
    """An engine would not run this input; the text is its reason, in one line."""


class GraphRunner(Protocol):
    """A graph loaded by one vendor's engine, which runs it."""

    engine: str

    @property
    def output_names(self) -> Collection[str]: ...

    def run(self, images: npt.NDArray[Any], outputs: Sequence[str]) -> list[Any]:
        """Runs the graph; gives the outputs of these names, in arrays that later calls leave alone.

        Raises:
            EngineRefusalError: an input of another shape or type than the graph takes.
        """
        ...


@runtime_checkable
class FeedingRunner(Protocol):
    """A runner that can feed further inputs beside the image."""

    def run_feeds(self, feeds: Mapping[str, npt.NDArray[Any]], outputs: Sequence[str]) -> list[Any]:
        """Runs the graph as `GraphRunner.run` does, on an array for each input by name."""
        ...


@dataclass(frozen=True, kw_only=True)
class DeviceTimes:
    """Milliseconds on the device of one run, between events in its stream."""

    upload: float
    compute: float
    download: float


@runtime_checkable
class TimedRunner(Protocol):
    """A runner whose device takes the time of each part of a run; `last_times` are of the last."""

    last_times: DeviceTimes


class GraphSession:
    """A graph with raw outputs; see `runtime.session.Session`."""

    outputs: tuple[str, ...] = RAW

    def __init__(self, runner: GraphRunner, path: Path, manifest: Signature) -> None:
        """Checks that the graph is one of ours.

        Raises:
            ArtifactError: without the outputs of the contract.
        """
        self.runner = runner
        self.path = path
        self.manifest = manifest
        self.engine = runner.engine
        missing = set(self.outputs) - set(runner.output_names)
        if missing:
            raise ArtifactError(f"{path}: the graph has no output {', '.join(sorted(missing))}")

    def run(self, images_bchw: Array) -> tuple[Array, Array]:
        """Runs a batch as `Session.run` does; where `takes_pixels`, also of (B, H, W, 3) uint8."""
        boxes, scores = self.run_graph(images_bchw)
        return boxes, scores

    def run_graph(self, images: Array | Pixels) -> list[Any]:
        """Runs a batch; gives the outputs in the order of `outputs`.

        Raises:
            ArtifactError: the graph refuses this batch.
        """
        feed = self.feed(images)
        try:
            return self.run_feed(feed)
        except EngineRefusalError as error:
            shape = "x".join(map(str, feed.shape))
            raise ArtifactError(f"{self.path}: cannot run an input of {shape}: {error}") from error

    def run_feed(self, feed: npt.NDArray[Any]) -> list[Any]:
        """Runs the graph on a batch as it takes it."""
        return self.runner.run(feed, self.outputs)

    def feed(self, images: Array | Pixels) -> npt.NDArray[Any]:
        """Converts the batch to what the graph's input takes."""
        return to_pixels(images) if takes_pixels(self.manifest) else images


class SuppressingGraphSession(GraphSession):
    """A graph with NMS inside; see `runtime.session.SuppressingSession`."""

    outputs: tuple[str, ...] = SUPPRESSED

    def run(self, images_bchw: Array) -> tuple[Array, Array]:
        raise ArtifactError(
            f"{self.path} has its NMS in the graph, so there are no raw scores",
            hint="export it again without --nms",
        )

    def run_suppressed(self, images_bchw: Array) -> SuppressedOutputs:
        counts, boxes, scores, classes = self.run_graph(images_bchw)
        return SuppressedOutputs(
            counts.reshape(-1).astype(np.int64), boxes, scores, classes.astype(np.int64)
        )


class FlatGraphSession(SuppressingGraphSession):
    """A graph with NMS inside whose detections are rows; see `export.nms`."""

    outputs = FLAT

    def run_suppressed(self, images_bchw: Array) -> SuppressedOutputs:
        """Groups the rows by image.

        Raises:
            ArtifactError: rows of images that there are not.
        """
        (rows,) = self.run_graph(images_bchw)
        images = rows[:, 0].astype(np.int64)
        if len(rows) and not 0 <= images.min() <= images.max() < len(images_bchw):
            raise ArtifactError(f"{self.path}: detections of more images than there are")
        counts = np.bincount(images, minlength=len(images_bchw))
        order = np.argsort(images, kind="stable")
        rows, images = rows[order], images[order]
        places = np.arange(len(rows)) - (np.cumsum(counts) - counts)[images]
        grouped = np.zeros((len(counts), counts.max(initial=0), 6), np.float32)
        grouped[images, places] = rows[:, 1:]
        boxes, scores, classes = grouped[..., :4], grouped[..., 4], grouped[..., 5]
        return SuppressedOutputs(counts, boxes, scores, classes.astype(np.int64))


def last_device_times(session: Session) -> DeviceTimes | None:
    """The device's own times of the last run; None where the engine takes none."""
    runner = session.runner if isinstance(session, GraphSession) else None
    return runner.last_times if isinstance(runner, TimedRunner) else None


def to_pixels(images: Array | Pixels) -> npt.NDArray[np.uint8]:
    """Converts (B, 3, H, W) 0..1 back to the (B, H, W, 3) uint8 it was made of, exactly."""
    if images.dtype == np.uint8:
        return np.asarray(images, np.uint8)
    return np.ascontiguousarray(np.rint(images * 255).astype(np.uint8).transpose(0, 2, 3, 1))
