"""ONNX Runtime: an exported ONNX file on the CPU, or on CUDA where that build is here."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from detkit.artifact.artifact import Signature
from detkit.artifact.writing import temporary_folder
from detkit.core.boxes import Array
from detkit.core.device import cuda_index
from detkit.core.errors import ArtifactError, BackendError
from detkit.core.protobuf import read_bytes
from detkit.core.reading import bytes_of
from detkit.runtime.graph_session import EngineRefusalError, GraphSession
from detkit.runtime.onnx_file import endless_loop, has_loops, read_onnx
from detkit.runtime.session import Pixels, SessionOptions
from detkit.runtime.session_factory import make_session

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
SILENT = 4  # only fatal errors; the others arrive as exceptions, and what it prints is not escaped
MAX_LOOP_S = 60.0  # of one run of a graph with a loop, whose end nothing but running it tells
ort.set_default_logger_severity(SILENT)

_REFUSALS = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NoModel,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)


class OnnxRuntimeRunner:
    """See `runtime.graph_session.GraphRunner`."""

    engine = "onnxruntime"

    def __init__(self, path: Path, session_options: SessionOptions) -> None:
        """Loads the graph.

        Raises:
            ArtifactError: damaged or not self-contained.
            BackendError: a device this build of ONNX Runtime cannot use.
        """
        self.path, self.has_loops = path, has_loops(path)
        self.graph = _load(path, session_options)
        self.input_name = self.graph.get_inputs()[0].name
        self.output_names: tuple[str, ...] = tuple(
            output.name for output in self.graph.get_outputs()
        )

    def run(self, images: Array | Pixels, outputs: Sequence[str]) -> list[Any]:
        return self.run_feeds({self.input_name: images}, outputs)

    def run_feeds(self, feeds: Mapping[str, Array | Pixels], outputs: Sequence[str]) -> list[Any]:
        """Runs the graph on an array for each input; see `runtime.graph_session.FeedingRunner`."""
        with self._within_time() as options:
            try:
                found: list[Any] = self.graph.run(list(outputs), dict(feeds), options)
            except _REFUSALS as error:
                if options is not None and options.terminate:
                    raise endless_loop(self.path, MAX_LOOP_S) from error
                raise EngineRefusalError(_reason(error)) from error
        return found

    @contextlib.contextmanager
    def _within_time(self) -> Iterator[Any]:
        """Options of one run that end it after `MAX_LOOP_S`; None for a graph without loops."""
        if not self.has_loops:
            yield None
            return
        options = ort.RunOptions()
        options.log_severity_level = SILENT
        timer = threading.Timer(MAX_LOOP_S, setattr, (options, "terminate", True))
        timer.start()
        try:
            yield options
        finally:
            timer.cancel()


def open_session(path: Path, manifest: Signature, session_options: SessionOptions) -> GraphSession:
    """Opens an ONNX artifact; see `engines.opening.open_session`."""
    return make_session(OnnxRuntimeRunner(path, session_options), path, manifest)


# Operator of the graph as ONNX Runtime runs it -> the precision of that convolution.
_CONVOLUTIONS = {
    "QLinearConv": "u8",
    "ConvInteger": "u8",
    "Conv": "f32",
    "FusedConv": "f32",
    "NhwcFusedConv": "f32",
    "ConvTranspose": "f32",
}


def precision_of_convolutions(path: Path) -> dict[str, int]:
    """How many convolutions run in which precision here, such as {"u8": 50, "f32": 6}.

    It is asked of the graph as optimised for this CPU, not of the file.
    """
    with temporary_folder() as folder:
        optimised = folder / "optimised.onnx"
        options = _options(SessionOptions(threads=1))
        options.optimized_model_filepath = str(optimised)
        ort.InferenceSession(read_onnx(path), options, providers=[CPU])
        return convolutions_in(bytes_of(optimised))


def convolutions_in(optimised: bytes) -> dict[str, int]:
    """How many convolutions of a graph that ONNX Runtime optimised run in which precision."""
    operators = Counter(_operators(optimised))
    counts: Counter[str] = Counter()
    for operator, precision in _CONVOLUTIONS.items():
        counts[precision] += operators[operator]
    return dict(counts.most_common())


def _operators(data: bytes) -> Iterator[str]:
    """Yields the op_type (field 4) of each node (1) of the graph (7) of a ModelProto."""
    for graph in read_bytes(data, 7):
        for node in read_bytes(graph, 1):
            yield from (bytes(name).decode() for name in read_bytes(node, 4))


# --- loading -------------------------------------------------------------------------------------


def _load(path: Path, session_options: SessionOptions) -> Any:
    providers = _providers(session_options.device)
    try:
        engine = ort.InferenceSession(
            read_onnx(path), _options(session_options), providers=providers
        )
    except _REFUSALS as error:
        raise ArtifactError(f"{path} cannot be loaded: {_reason(error)}") from error
    if len(providers) > 1 and CUDA not in engine.get_providers():  # it falls back without a word
        raise BackendError(
            f"device '{session_options.device}' is not available: CUDA does not start"
        )
    return engine


def _options(session_options: SessionOptions) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = SILENT
    options.intra_op_num_threads = session_options.threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.use_deterministic_compute = True
    # Threads that go on spinning after a run more than double the time of a model run next.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return options


def _providers(device: str) -> list[Any]:
    """ONNX Runtime's providers for `auto`, `cpu`, `cuda` or `cuda:N`, the CPU as the fallback."""
    has_cuda = CUDA in ort.get_available_providers()
    if device == "cpu" or (device == "auto" and not has_cuda):
        return [CPU]
    index = cuda_index(device) or 0
    if not has_cuda:
        raise BackendError(
            f"device '{device}' is not available: this onnxruntime is a CPU build",
            hint="install onnxruntime-gpu in its place, or --device cpu",
        )
    return [(CUDA, {"device_id": str(index)}), CPU]


def _reason(error: Exception) -> str:
    """The first line of ONNX Runtime's message, without its codes."""
    return str(error).partition("\n")[0].rpartition(" : ")[2]
