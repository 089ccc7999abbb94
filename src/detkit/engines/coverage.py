"""How much of a graph really runs in INT8: asked of the engine, after it has optimised the graph.

A Q/DQ graph only proposes INT8. What an engine cannot fuse it runs in float with conversions
around, slower than if nothing were quantized.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from detkit.engines import ENGINES

INT8 = ("u8", "i8")


@dataclass(frozen=True)
class Coverage:
    """Convolutions of a graph as an engine runs them."""

    int8: int
    total: int

    @property
    def share(self) -> float:
        return self.int8 / max(self.total, 1)


def coverage(path: Path, engine: str) -> Coverage:
    """Counts the convolutions of an ONNX file that this machine's CPU runs in INT8.

    Raises:
        ArtifactError: not an ONNX file this engine loads.
        BackendError: the engine is not installed.
    """
    record = ENGINES[engine]
    counts: dict[str, int] = record.load(record.int8_coverage)(path)
    return Coverage(sum(counts.get(name, 0) for name in INT8), sum(counts.values()))
