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

from detkit.artifact import Signature, read_manifest
from detkit.boxes import Array, Detections, NmsConfig, nms
from detkit.errors import ForeignFileError, NonFiniteError, UsageError, did_you_mean
from detkit.foreign.onnx_graph import read_graph
from detkit.foreign.signature import ForeignSignature, is_foreign, sign
from detkit.plugin import load_plugin
from detkit.spec.foreign import ForeignSpec

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

    runtime: str

    @property
    def manifest(self) -> Signature: ...

    def run(self, images_bchw: Array) -> tuple[Array, Array]:
        """(B, 3, H, W) -> boxes (B, A, 4) xyxy input pixels, scores (B, A, C).

        The pictures are float32 as the manifest's `preprocess` says: RGB 0..1 where it is native.
        """
        ...


@runtime_checkable
class SuppressingSession(Protocol):
    """A session whose graph holds the NMS; its `run` refuses, having no raw scores to give."""

    runtime: str

    @property
    def manifest(self) -> Signature: ...

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
            NonFiniteError: NaN or Inf, which suppression would drop without a word.
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
        raise NonFiniteError("the model gives NaN or Inf: its boxes or scores cannot be used")


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


def takes_pixels(manifest: Signature) -> bool:
    """Whether the graph itself scales and transposes: exported with uint8 (B, H, W, 3) input."""
    return bool(manifest.inputs) and manifest.inputs[0].dtype == "uint8"


def detections_of(session: Session, images: Array, config: NmsConfig) -> list[Detections]:
    """One for each picture of `infer`, whatever batch size the graph takes."""
    manifest = session.manifest
    only = manifest.only_batch if isinstance(manifest, ForeignSignature) else 0
    size = only or len(images)
    found: list[Detections] = []
    for start in range(0, len(images), size):
        part = images[start : start + size]
        batch = part if len(part) == size else np.resize(part, (size, *part.shape[1:]))
        found += infer(session, batch).detections(config)[: len(part)]
    return found


def open_session(
    path: Path,
    *,
    runtime: str = "",
    placement: Placement | None = None,
    foreign: ForeignSpec | None = None,
) -> Session:
    """Opens an artifact with its natural runtime, or with the one named.

    Args:
        foreign: what another tool's ONNX file takes and gives.

    Raises:
        UsageError: an unknown runtime, or one that cannot run this kind of file; a description of
            a file that describes itself.
        BackendError: the runtime is not installed here.
        ArtifactError: the file is missing or damaged; foreign, and not or not rightly described.
    """
    manifest = _manifest_of(path, foreign)
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


def _manifest_of(path: Path, foreign: ForeignSpec | None) -> Signature:
    if foreign is not None:
        if not is_foreign(path):
            raise UsageError(f"--outputs: {path} says itself what its outputs mean")
        return sign(path, read_graph(path), foreign)
    try:
        return read_manifest(path)
    except ForeignFileError as error:
        hint = f"say what its outputs mean: --outputs PRESET or FILE.json (see: detkit info {path})"
        raise ForeignFileError(str(error), hint=hint) from error
