"""How an engine shall be built: batch sizes, flags, the name of its timing cache. No TensorRT."""

from __future__ import annotations

from dataclasses import dataclass

from onnx import ModelProto

from detkit.core.errors import UsageError
from detkit.engines.tensorrt.api import Shapes
from detkit.engines.tensorrt.build_machine import Machine


@dataclass(frozen=True, kw_only=True)
class EnginePlan:
    """How to build an engine. `batches` are the least, the one to tune for, and the most."""

    batches: tuple[int, int, int] = (1, 1, 8)
    level: int = 3  # of search, 0 to 5; TensorRT's own default
    tf32: bool = False  # FP32 convolutions keep 23 bits of mantissa, as everywhere else in detkit

    def __post_init__(self) -> None:
        least, best, most = self.batches
        if not 1 <= least <= best <= most:
            raise UsageError(
                f"batches {least}:{best}:{most} make no sense", hint="LEAST:TUNED:MOST, from 1 up"
            )

    @property
    def flags(self) -> dict[str, bool]:
        """The names of `BuilderFlag` to set (True) or to clear (False)."""
        return {"TF32": self.tf32}

    def profile(self, graph: ModelProto) -> dict[str, Shapes]:
        """The shapes of every input whose batch is free.

        Raises:
            UsageError: another dimension is free as well.
        """
        shapes: dict[str, Shapes] = {}
        for value in graph.graph.input:
            batch, *rest = value.type.tensor_type.shape.dim
            fixed = tuple(dim.dim_value for dim in rest)
            if not all(fixed):
                raise UsageError(f"input '{value.name}': only its batch may be free")
            if not batch.dim_value:
                least, best, most = ((size, *fixed) for size in self.batches)
                shapes[value.name] = (least, best, most)
        return shapes


def timing_cache_name(machine: Machine) -> str:
    """The name of the file of kernel times, which hold for one GPU and version only."""
    return f"{machine.library}-{machine.version}-sm{machine.compute_capability}.timing"
