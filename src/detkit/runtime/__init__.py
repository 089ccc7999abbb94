"""One Session per engine: open an artifact, run a batch, get decoded boxes and scores.

`RUNTIMES` is the plug-in table: name -> "module:function". A new engine is a new file and a line.
`infer` is what verbs call that must work with every artifact: it gives raw outputs, or those of a
graph that suppresses by itself, and both turn into `Detections` the same way.

Legend: B batch, A anchor points, C classes, M detections of a picture at most.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast, runtime_checkable

import numpy as np
import numpy.typing as npt

from detkit.artifact import Manifest, read_manifest
from detkit.boxes import Array, Detections, NmsConfig, nms
from detkit.errors import ArtifactError, UsageError, did_you_mean
from detkit.plugin import load_plugin

Pixels = npt.NDArray[np.uint8]

RUNTIMES = {
    "torch": "detkit.runtime.torch:open_session",
    "onnxruntime": "detkit.runtime.onnxruntime:open_session",
    "openvino": "detkit.runtime.openvino:open_session",
    "tensorrt": "detkit.runtime.tensorrt:open_session",
    "tensorrt-rtx": "detkit.runtime.tensorrt:open_session",
}
RUNTIMES_OF = {  # Manifest.kind -> what can run it, the default first
    "checkpoint": ("torch",),
    "onnx": ("onnxruntime", "openvino"),
    "openvino": ("openvino",),
    "tensorrt": ("tensorrt",),
    "tensorrt-rtx": ("tensorrt-rtx",),
}


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where and how a session runs. `threads` 0 leaves the choice to the engine.

    `in_flight` is how many sessions of the model run at once, which share the CPUs.
    """

    device: str = "cpu"
    threads: int = 0
    in_flight: int = 1


class Session(Protocol):
    """An opened model. `run` is deterministic and keeps nothing between calls."""

    manifest: Manifest
    runtime: str

    def run(self, images_bchw: Array) -> tuple[Array, Array]:
        """(B, 3, H, W) float32 RGB 0..1 -> boxes (B, A, 4) xyxy input pixels, scores (B, A, C)."""
        ...


@runtime_checkable
class SuppressingSession(Protocol):
    """A session whose graph holds the NMS; its `run` refuses, having no raw scores to give."""

    manifest: Manifest
    runtime: str

    def run(self, images_bchw: Array) -> tuple[Array, Array]: ...

    def run_suppressed(self, images_bchw: Array) -> SuppressedOutputs:
        """As `Session.run`, to detections in input pixels."""
        ...


@dataclass(frozen=True)
class RawOutputs:
    """Every prediction: boxes (B, A, 4) xyxy input pixels, scores (B, A, C) 0..1."""

    boxes: Array
    scores: Array

    def detections(self, config: NmsConfig) -> list[Detections]:
        """One for each picture, in input pixels.

        Raises:
            ArtifactError: NaN or Inf, which suppression would drop without a word.
        """
        _check_finite(self.boxes, self.scores)
        return [nms(b, s, config) for b, s in zip(self.boxes, self.scores, strict=True)]


@dataclass(frozen=True)
class SuppressedOutputs:
    """Outputs of a graph with NMS, padded to M: the first `counts` of each picture are real."""

    counts: npt.NDArray[np.int64]  # (B,)
    boxes: Array  # (B, M, 4) xyxy input pixels
    scores: Array  # (B, M)
    classes: npt.NDArray[np.int64]  # (B, M)

    def detections(self, config: NmsConfig) -> list[Detections]:
        """As those of `RawOutputs`; of `config` only the score threshold and the count apply."""
        _check_finite(self.boxes, self.scores)
        return [self._picture(index, config) for index in range(len(self.counts))]

    def _picture(self, index: int, config: NmsConfig) -> Detections:
        scores = self.scores[index, : self.counts[index]]
        best = np.argsort(-scores, kind="stable")
        keep = best[scores[best] > config.score_threshold][: config.max_detections]
        return Detections(self.boxes[index][keep], scores[keep], self.classes[index][keep])


def _check_finite(*arrays: Array) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        sums = [array.sum() for array in arrays]  # one pass each, no array of flags
    if not np.isfinite(sums).all():
        raise ArtifactError("the model gives NaN or Inf: its boxes or scores cannot be used")


def infer(session: Session, images: Array | Pixels) -> RawOutputs | SuppressedOutputs:
    """Runs a batch on any artifact.

    Args:
        images: (B, 3, H, W) float32 as for `Session.run`, or, where `takes_pixels`, the
            letterboxed pictures themselves, (B, H, W, 3) uint8.
    """
    batch = cast(Array, images)
    if isinstance(session, SuppressingSession):
        return session.run_suppressed(batch)
    return RawOutputs(*session.run(batch))


def takes_pixels(manifest: Manifest) -> bool:
    """Whether the graph itself scales and transposes: exported with uint8 (B, H, W, 3) input."""
    return bool(manifest.inputs) and manifest.inputs[0].dtype == "uint8"


def open_session(path: Path, *, runtime: str = "", placement: Placement | None = None) -> Session:
    """Opens an artifact with its natural runtime, or with the one named.

    Raises:
        UsageError: an unknown runtime, or one that cannot run this kind of file.
        BackendError: the runtime is not installed here.
        ArtifactError: the file is missing, damaged or foreign.
    """
    manifest = read_manifest(path)
    suitable = RUNTIMES_OF[manifest.kind]
    name = runtime or suitable[0]
    if name not in RUNTIMES:
        raise UsageError(f"unknown runtime '{name}'", hint=did_you_mean(name, RUNTIMES))
    if name not in suitable:
        raise UsageError(
            f"{name} cannot run {path.name}, a file of kind '{manifest.kind}'",
            hint=f"{' or '.join(suitable)} can",
        )
    opener = load_plugin(name, RUNTIMES[name])
    session: Session = opener(path, manifest, placement or Placement())
    return session
