"""What an opened model can do: run a batch, whose boxes and scores become detections.

The sessions themselves are opened by `engines.opening`, each by its engine.
`infer` is what verbs call that must work with every artifact: it gives raw outputs, or those of a
graph that suppresses by itself, and both turn into `Detections` the same way.

Legend: B batch, A anchor points, C classes, M detections of an image at most.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, cast, runtime_checkable

import numpy as np
import numpy.typing as npt

from detkit.artifact.artifact import Signature
from detkit.core.boxes import Array, Detections, NmsConfig, nms
from detkit.core.errors import NonFiniteError

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class SessionOptions:
    """The device that a session runs on, and its threads; 0 leaves them to the engine.

    `in_flight` is how many sessions of the model run at once, which share the CPUs.
    """

    device: str = "cpu"
    threads: int = 0
    in_flight: int = 1


class Session(Protocol):
    """An opened model. `run` is deterministic and keeps nothing between calls."""

    engine: str

    @property
    def manifest(self) -> Signature: ...

    def run(self, images_bchw: Array) -> tuple[Array, Array]:
        """Runs (B, 3, H, W): boxes (B, A, 4) xyxy input pixels, scores (B, A, C).

        The images are float32 as the manifest's `preprocess` says: RGB 0..1 where it is native.
        """
        ...


@runtime_checkable
class SuppressingSession(Protocol):
    """A session whose graph holds the NMS; its `run` refuses, having no raw scores to give."""

    engine: str

    @property
    def manifest(self) -> Signature: ...

    def run(self, images_bchw: Array) -> tuple[Array, Array]: ...

    def run_suppressed(self, images_bchw: Array) -> SuppressedOutputs:
        """Runs a batch as `Session.run` does; gives detections in input pixels."""
        ...


@dataclass(frozen=True)
class RawOutputs:
    """Every prediction: boxes (B, A, 4) xyxy input pixels, scores (B, A, C) 0..1."""

    boxes: Array
    scores: Array

    def detections(self, config: NmsConfig) -> list[Detections]:
        """Suppresses overlapping boxes; gives detections in input pixels for each image.

        Raises:
            NonFiniteError: NaN or Inf, which suppression would drop without a word.
        """
        _check_finite(self.boxes, self.scores)
        return [nms(b, s, config) for b, s in zip(self.boxes, self.scores, strict=True)]


@dataclass(frozen=True)
class SuppressedOutputs:
    """Outputs of a graph with NMS, padded to M: the first `counts` of each image are real."""

    counts: npt.NDArray[np.int64]  # (B,)
    boxes: Array  # (B, M, 4) xyxy input pixels
    scores: Array  # (B, M)
    classes: npt.NDArray[np.int64]  # (B, M)

    def detections(self, config: NmsConfig) -> list[Detections]:
        """Gives detections as `RawOutputs` does, by score threshold and count of `config` alone."""
        _check_finite(self.boxes, self.scores)
        return [self._image(index, config) for index in range(len(self.counts))]

    def _image(self, index: int, config: NmsConfig) -> Detections:
        scores = self.scores[index, : self.counts[index]]
        best = np.argsort(-scores, kind="stable")
        classes = self.classes[index]
        keep = best[scores[best] > config.thresholds_of(classes[best])][: config.max_detections]
        return Detections(self.boxes[index][keep], scores[keep], classes[keep])


def _check_finite(*arrays: Array) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        sums = [array.sum() for array in arrays]  # one pass each, no array of flags
    if not np.isfinite(sums).all():
        raise NonFiniteError("the model gives NaN or Inf: its boxes or scores cannot be used")


def infer(session: Session, images: Array | Pixels) -> RawOutputs | SuppressedOutputs:
    """Runs a batch on any artifact.

    Args:
        images: (B, 3, H, W) float32 as for `Session.run`, or, where `takes_pixels`, the
            letterboxed images themselves, (B, H, W, 3) uint8.
    """
    batch = cast(Array, images)
    if isinstance(session, SuppressingSession):
        return session.run_suppressed(batch)
    return RawOutputs(*session.run(batch))


def takes_pixels(manifest: Signature) -> bool:
    """Whether the graph itself scales and transposes: exported with uint8 (B, H, W, 3) input."""
    return bool(manifest.inputs) and manifest.inputs[0].dtype == "uint8"
