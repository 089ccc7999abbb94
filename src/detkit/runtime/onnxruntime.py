"""The ONNX Runtime Session: an exported detector on the CPU, or on CUDA where that build is here.

Reads every form `detkit export` writes: raw outputs or NMS in the graph, float or uint8 input. An
artifact is one file, whose digest covers all of it, so a graph that points to other files is
refused, wherever they lie.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from detkit.artifact import Manifest, protobuf_fields
from detkit.boxes import Array
from detkit.errors import ArtifactError, BackendError
from detkit.runtime import Pixels, Placement, SuppressedOutputs, takes_pixels, to_pixels

RAW = ("boxes", "scores")
SUPPRESSED = ("num_dets", "det_boxes", "det_scores", "det_classes")
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
SILENT = 4  # only fatal errors; the others arrive as exceptions

_REFUSALS = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NoModel,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)


class OnnxSession:
    """A graph with raw outputs; see `runtime.Session`."""

    runtime = "onnxruntime"
    outputs: tuple[str, ...] = RAW

    def __init__(self, path: Path, manifest: Manifest, placement: Placement) -> None:
        """Loads the graph.

        Raises:
            ArtifactError: damaged, not self-contained, or without the outputs of the contract.
            BackendError: a device this build of ONNX Runtime cannot use.
        """
        self.manifest = manifest
        self.path = path
        self.engine = _load(path, placement)
        self.input_name = self.engine.get_inputs()[0].name
        missing = set(self.outputs) - {output.name for output in self.engine.get_outputs()}
        if missing:
            raise ArtifactError(f"{path}: the graph has no output {', '.join(sorted(missing))}")

    def run(self, images_bchw: Array) -> tuple[Array, Array]:
        """As `Session.run`; a graph that `takes_pixels` is also fed with (B, H, W, 3) uint8."""
        boxes, scores = self.run_graph(images_bchw)
        return boxes, scores

    def run_graph(self, images: Array | Pixels) -> list[Any]:
        """The outputs in the order of `outputs`.

        Raises:
            ArtifactError: the graph refuses this batch.
        """
        feed = to_pixels(images) if takes_pixels(self.manifest) else images
        try:
            outputs: list[Any] = self.engine.run(list(self.outputs), {self.input_name: feed})
        except _REFUSALS as error:
            shape = "x".join(map(str, feed.shape))
            raise ArtifactError(
                f"{self.path}: cannot run an input of {shape}: {_reason(error)}"
            ) from error
        return outputs


class SuppressingOnnxSession(OnnxSession):
    """A graph with NMS inside; see `runtime.SuppressingSession`."""

    outputs = SUPPRESSED

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


def open_session(path: Path, manifest: Manifest, placement: Placement) -> OnnxSession:
    """Opens an ONNX artifact; see `runtime.open_session`."""
    kind = SuppressingOnnxSession if manifest.form == "nms" else OnnxSession
    return kind(path, manifest, placement)


# --- loading -------------------------------------------------------------------------------------


def _load(path: Path, placement: Placement) -> Any:
    providers = _providers(placement.device)
    data = path.read_bytes()
    try:
        if any(_external_tensors(data, "model")):
            raise ArtifactError(f"{path} keeps tensors in other files; an artifact is one file")
        engine = ort.InferenceSession(data, _options(placement), providers=providers)
    except (IndexError, ValueError, RecursionError) as error:
        raise ArtifactError(f"{path} is not an ONNX file, or is cut short") from error
    except _REFUSALS as error:
        raise ArtifactError(f"{path} cannot be loaded: {_reason(error)}") from error
    if len(providers) > 1 and CUDA not in engine.get_providers():  # it falls back without a word
        raise BackendError(f"device '{placement.device}' is not available: CUDA does not start")
    return engine


def _options(placement: Placement) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = SILENT
    options.intra_op_num_threads = placement.threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.use_deterministic_compute = True
    # Threads that go on spinning after a run more than double the time of a model run next.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return options


def _providers(device: str) -> list[Any]:
    """`auto`, `cpu`, `cuda` or `cuda:N` as ONNX Runtime names it, the CPU being the fallback."""
    has_cuda = CUDA in ort.get_available_providers()
    if device == "cpu" or (device == "auto" and not has_cuda):
        return [CPU]
    kind, _, index = device.partition(":")
    if device != "auto" and (kind != "cuda" or not (index or "0").isdecimal()):
        raise BackendError(
            f"onnxruntime has no device '{device}'", hint="known: auto, cpu, cuda, cuda:N"
        )
    if not has_cuda:
        raise BackendError(
            f"device '{device}' is not available: this onnxruntime is a CPU build",
            hint="install onnxruntime-gpu in its place",
        )
    return [(CUDA, {"device_id": index or "0"}), CPU]


def _reason(error: Exception) -> str:
    """The first line of what ONNX Runtime says, without its codes."""
    return str(error).partition("\n")[0].rpartition(" : ")[2]


# Where tensors hide in an ONNX file: message -> field number -> message (onnx.proto3).
_MESSAGES = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {
        5: "tensor",
        6: "graph",
        10: "tensor",
        11: "graph",
        22: "sparse",
        23: "sparse",
    },
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_DATA_LOCATION, _EXTERNAL_DATA = 14, 13


def _external_tensors(data: bytes | memoryview, message: str) -> Iterator[bool]:
    """True for each sign of a tensor stored elsewhere; old ONNX Runtimes follow any path."""
    for number, value in protobuf_fields(data):
        if message == "tensor" and number in (_DATA_LOCATION, _EXTERNAL_DATA):
            yield value != 0
        elif number in _MESSAGES[message] and isinstance(value, memoryview):
            yield from _external_tensors(value, _MESSAGES[message][number])
