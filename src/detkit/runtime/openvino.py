"""OpenVINO: an exported file, ONNX or its own, on the CPU; float32 where it is not quantized."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from detkit.artifact import Manifest
from detkit.boxes import Array
from detkit.errors import ArtifactError, BackendError
from detkit.runtime import Pixels, Placement
from detkit.runtime.graph import EngineRefusalError, GraphSession, session_of
from detkit.runtime.onnx_file import read_onnx
from detkit.runtime.openvino_api import hint, ov, properties

DEVICES = ("auto", "cpu")
_PREAMBLE = ("Exception from", "Check ", "FrontEnd API", "Model wasn't", "Summary:")


class OpenVinoEngine:
    """See `runtime.graph.Engine`."""

    runtime = "openvino"

    def __init__(self, path: Path, placement: Placement) -> None:
        """Loads and compiles the graph.

        Raises:
            ArtifactError: damaged or not self-contained.
            BackendError: a device other than the CPU.
        """
        if placement.device not in DEVICES:
            raise BackendError(
                f"openvino has no device '{placement.device}'", hint=f"known: {', '.join(DEVICES)}"
            )
        self.graph = compile_file(path, threads=placement.threads)
        # A tensor that passes through a node that does nothing has the names of both.
        self.output_names: set[str] = {name for out in self.graph.outputs for name in out.names}

    def run(self, images: Array | Pixels, outputs: Sequence[str]) -> list[Any]:
        try:
            found = self.graph([images], share_inputs=True)
        except RuntimeError as error:
            raise EngineRefusalError(_reason(error)) from error
        return [found[name] for name in outputs]


def open_session(path: Path, manifest: Manifest, placement: Placement) -> GraphSession:
    """Opens an ONNX or OpenVINO artifact; see `runtime.open_session`."""
    return session_of(OpenVinoEngine(path, placement), path, manifest)


def compile_file(path: Path, *, threads: int = 0) -> Any:
    """The file as an `openvino.CompiledModel` of the CPU: one stream, tuned for latency.

    Left alone, OpenVINO computes float graphs in bfloat16 where the CPU can; here it may not.

    Raises:
        ArtifactError: a graph that is damaged, not self-contained, or not OpenVINO's to run.
    """
    settings: dict[Any, Any] = {
        hint.performance_mode: hint.PerformanceMode.LATENCY,
        hint.inference_precision: ov.Type.f32,
        properties.num_streams: 1,
    }
    if threads:
        settings[properties.inference_num_threads] = threads
    core = ov.Core()
    source = read_onnx(path) if path.suffix == ".onnx" else path
    try:
        return core.compile_model(core.read_model(source), "CPU", settings)
    except RuntimeError as error:
        raise ArtifactError(f"{path} cannot be loaded: {_reason(error)}") from error


def precision_of_convolutions(path: Path) -> dict[str, int]:
    """How many convolutions run in which precision here, such as {"u8": 50, "f32": 6}.

    It is asked of the graph as compiled for this CPU, not of the file.
    """
    layers = (layer.get_rt_info() for layer in compile_file(path).get_runtime_model().get_ops())
    return dict(
        Counter(
            info["runtimePrecision"].astype(str)
            for info in layers
            if info["layerType"].astype(str) == "Convolution"
        ).most_common()
    )


def _reason(error: Exception) -> str:
    """The first line of what OpenVINO says that is no place in its source code."""
    lines = [line.removeprefix("-- ") for line in str(error).splitlines() if line]
    return next((line for line in lines if not line.startswith(_PREAMBLE)), "no reason given")
