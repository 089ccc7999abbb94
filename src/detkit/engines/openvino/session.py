"""OpenVINO: an exported file, ONNX or its own, on the CPU; float32 where it is not quantized."""

from __future__ import annotations

import contextlib
import functools
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from detkit.artifact.artifact import Signature
from detkit.core.boxes import Array
from detkit.core.device import check_device_name
from detkit.core.errors import ArtifactError, BackendError
from detkit.engines.openvino.api import hint, ov, properties, the_core
from detkit.runtime.graph_session import EngineRefusalError, GraphSession
from detkit.runtime.onnx_file import has_loops, read_onnx
from detkit.runtime.session import Pixels, SessionOptions
from detkit.runtime.session_factory import make_session

DEVICES = ("auto", "cpu")
REPEATING = {"Loop", "TensorIterator", "If"}  # the last holds graphs that may loop
SIZED_GRAPHS = 2
_PREAMBLE = ("Exception from", "Check ", "FrontEnd API", "Model wasn't", "Summary:")


class OpenVinoRunner:
    """See `runtime.graph_session.GraphRunner`.

    One image has a graph of its own, and so has the first larger batch size that comes, which
    spares the work that a free batch size costs in every run: 13 % of the time of yolo-nas-n in
    INT8 at 320 px, 22 % of yolo-nas-p at 64 px; of 8 images at 160 px 20 % in INT8 and 11 % in
    float, measured in turns on one thread. All other sizes share a graph.
    """

    engine = "openvino"

    def __init__(self, path: Path, session_options: SessionOptions) -> None:
        """Loads the graph and compiles it for one image.

        Raises:
            ArtifactError: damaged or not self-contained.
            BackendError: a device other than the CPU.
        """
        check_device_name(session_options.device)
        if session_options.device not in DEVICES:
            raise BackendError(
                f"openvino cannot run on device '{session_options.device}' in detkit",
                hint="--device cpu",
            )
        self.path = path
        self.session_options = session_options
        self.network = _read(path)
        self.graph = _compile(self.network, path, num_images=1, session_options=session_options)
        self._sized = {1: self.graph}
        # A tensor that passes through a node that does nothing has the names of both.
        self.output_names: set[str] = {name for out in self.graph.outputs for name in out.names}

    def run(self, images: Array | Pixels, outputs: Sequence[str]) -> list[Any]:
        return self._run(self._graph_for(len(images)), [images], outputs)

    def run_feeds(self, feeds: Mapping[str, Array | Pixels], outputs: Sequence[str]) -> list[Any]:
        """Runs the graph on an array for each input; see `runtime.graph_session.FeedingRunner`."""
        return self._run(self.graph, dict(feeds), outputs)

    def _run(self, graph: Any, feeds: Any, outputs: Sequence[str]) -> list[Any]:
        try:
            found = graph(feeds, share_inputs=True)
        except RuntimeError as error:
            raise EngineRefusalError(_reason(error)) from error
        return [found[name] for name in outputs]

    def _graph_for(self, batch: int) -> Any:
        if batch not in self._sized and batch and len(self._sized) < SIZED_GRAPHS:
            with contextlib.suppress(
                ArtifactError
            ):  # a batch that the graph refuses when it is run
                self._sized[batch] = _compile(
                    self.network, self.path, num_images=batch, session_options=self.session_options
                )
        return self._sized.get(batch) or self.graph_of_any_batch

    @functools.cached_property
    def graph_of_any_batch(self) -> Any:
        """The network for any batch size, compiled when it is first needed."""
        return _compile(self.network, self.path, session_options=self.session_options)


def open_session(path: Path, manifest: Signature, session_options: SessionOptions) -> GraphSession:
    """Opens an ONNX or OpenVINO artifact; see `engines.opening.open_session`."""
    return make_session(OpenVinoRunner(path, session_options), path, manifest)


def precision_of_convolutions(source: Path | GraphSession) -> dict[str, int]:
    """How many convolutions run in which precision here, such as {"u8": 50, "f32": 6}.

    It is asked of the graph as compiled for this CPU, not of the file.

    Args:
        source: an ONNX or OpenVINO file, or a session that this engine opened.
    """
    if isinstance(source, Path):
        graph = _compile(_read(source), source, num_images=1)
    else:
        assert isinstance(source.runner, OpenVinoRunner), "a session of another engine"
        graph = source.runner.graph
    layers = [layer.get_rt_info() for layer in graph.get_runtime_model().get_ops()]
    precisions = Counter(
        info["runtimePrecision"].astype(str)
        for info in layers
        if info["layerType"].astype(str) == "Convolution"
    )
    return dict(precisions.most_common())


# --- loading -------------------------------------------------------------------------------------


def _read(path: Path) -> Any:
    """The file as an `openvino.Model`.

    Of an INT8 ONNX graph with NMS inside and a free batch, OpenVINO 2026.4 gives other boxes unless
    it has gone through the passes of `convert_model`, which take about a second.
    """
    is_onnx = path.suffix == ".onnx"
    source = read_onnx(path) if is_onnx else path
    if is_onnx and has_loops(path):
        raise _may_never_end(path, hint="--runtime onnxruntime, where it is ended after a while")
    with _refused_as_artifact(path):
        network = the_core().read_model(source)
        if not is_onnx and not REPEATING.isdisjoint(map(_type_of, network.get_ops())):
            raise _may_never_end(path, hint="no export of detkit has one: make the file again")
        if isinstance(source, bytes) and "NonMaxSuppression" in map(_type_of, network.get_ops()):
            return ov.convert_model(io.BytesIO(source))
        return network


def _type_of(layer: Any) -> str:
    return str(layer.get_type_name())


def _may_never_end(path: Path, *, hint: str) -> ArtifactError:
    """OpenVINO runs a loop of constants while it compiles, and nothing can stop it there."""
    return ArtifactError(f"{path} has a loop, which openvino cannot be stopped in", hint=hint)


def _compile(
    network: Any, path: Path, *, num_images: int = 0, session_options: SessionOptions | None = None
) -> Any:
    """An `openvino.CompiledModel` of the CPU: one stream, tuned for latency.

    Left alone, OpenVINO computes float graphs in bfloat16 where the CPU can; here it may not. Each
    graph would bind its threads to the first cores; several in flight may not.

    Args:
        num_images: the batch size to compile for; 0 leaves it free.
    """
    settings: dict[Any, Any] = {
        hint.performance_mode: hint.PerformanceMode.LATENCY,
        hint.inference_precision: ov.Type.f32,
        properties.num_streams: 1,
    }
    session_options = session_options or SessionOptions()
    if session_options.threads:
        settings[properties.inference_num_threads] = session_options.threads
    if session_options.in_flight > 1:
        settings[hint.enable_cpu_pinning] = False
    with _refused_as_artifact(path):
        sized = network.clone()
        if num_images and len(sized.inputs) == 1:
            shape = sized.inputs[0].partial_shape
            shape[0] = num_images
            sized.reshape(shape)
        return the_core().compile_model(sized, "CPU", settings)


@contextlib.contextmanager
def _refused_as_artifact(path: Path) -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise ArtifactError(f"{path} cannot be loaded: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    """The first line of OpenVINO's message that is not a line of its source code."""
    lines = [line.removeprefix("-- ") for line in str(error).splitlines() if line]
    return next((line for line in lines if not line.startswith(_PREAMBLE)), "no reason given")
