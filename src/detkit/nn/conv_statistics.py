"""The convolutions of a deployed network as numbers: what its latency is made of.

Read from the network itself, so that it holds for every kind of block. A block that fuses into one
convolution is counted as that.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

from detkit.nn.blocks import MapSize, conv_macs
from detkit.nn.detector import build_detector, on_convolutions
from detkit.spec.arch import ArchSpec


@dataclass(frozen=True, kw_only=True)
class ConvLayer:
    """One convolution of one image. `level` is log2 of its output's stride."""

    path: str
    level: int
    kernel_area: int
    c_in: int
    c_out: int
    cells: int  # of the output: height x width
    macs: int

    @property
    def weights(self) -> int:
        return self.c_in * self.c_out * self.kernel_area

    @property
    def moved(self) -> int:
        """The number of values read and written, without the weights."""
        return self.cells * (self.c_in + self.c_out)


@functools.lru_cache(maxsize=1024)
def conv_layers(spec: ArchSpec) -> tuple[ConvLayer, ...]:
    """All convolutions of a deployed network, in the order they run."""
    model = build_detector(spec, "deployed")
    found: list[ConvLayer] = []

    def record(path: str, conv: Any, before: MapSize, after: MapSize) -> None:
        height, width = after
        layer = ConvLayer(
            path=path,
            level=round(spec.image_size[0] / height).bit_length() - 1,
            kernel_area=math.prod(conv.kernel_size),
            c_in=conv.in_channels,
            c_out=conv.out_channels,
            cells=height * width,
            macs=conv_macs(conv, before, after),
        )
        found.append(layer)

    on_convolutions(model, spec, record)
    return tuple(found)
