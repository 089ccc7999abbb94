"""How much of a graph really runs in INT8: asked of the engine, after it has optimised the graph.

A Q/DQ graph only proposes INT8. What an engine cannot fuse it runs in float with conversions
around, slower than if nothing were quantized.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnxruntime as ort

from detkit.errors import UsageError
from detkit.runtime.onnx_file import read_onnx

INT8_CONVOLUTIONS = ("QLinearConv", "ConvInteger")
FLOAT_CONVOLUTIONS = ("Conv", "FusedConv", "NhwcFusedConv", "ConvTranspose")


@dataclass(frozen=True)
class Coverage:
    """Convolutions of a graph as an engine runs them."""

    int8: int
    total: int

    @property
    def share(self) -> float:
        return self.int8 / max(self.total, 1)


def coverage(path: Path, runtime: str) -> Coverage:
    """Of an ONNX file, on this machine's CPU.

    Raises:
        UsageError: an engine that cannot be asked.
        ArtifactError: not an ONNX file this engine loads.
    """
    if runtime == "onnxruntime":
        return _of_onnxruntime(path)
    if runtime == "openvino":
        return _of_openvino(path)
    raise UsageError(f"'{runtime}' cannot be asked what it runs in INT8")


def _of_onnxruntime(path: Path) -> Coverage:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    with tempfile.TemporaryDirectory(prefix="detkit-") as folder:
        optimised = Path(folder) / "optimised.onnx"
        options.optimized_model_filepath = str(optimised)
        ort.InferenceSession(read_onnx(path), options, providers=["CPUExecutionProvider"])
        counts = Counter(node.op_type for node in onnx.load(optimised).graph.node)
    int8 = sum(counts[name] for name in INT8_CONVOLUTIONS)
    return Coverage(int8, int8 + sum(counts[name] for name in FLOAT_CONVOLUTIONS))


def _of_openvino(path: Path) -> Coverage:
    from detkit.runtime.openvino import precision_of_convolutions

    counts = precision_of_convolutions(path)
    int8 = sum(number for name, number in counts.items() if name in ("u8", "i8"))
    return Coverage(int8, sum(counts.values()))
