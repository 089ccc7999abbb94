"""The convolutions of a deployed network as numbers: what its latency is made of.

Read from the network itself, run once on the meta device, so that it holds for every kind of block.
A block that fuses into one convolution is counted as that.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from detkit.nn.blocks import CONVOLUTIONS, conv_macs, fuse_shapes
from detkit.nn.detector import build_detector
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
    model = build_detector(spec, "training").eval()
    fuse_shapes(model)
    found: list[ConvLayer] = []
    for path, module in model.named_modules():
        if isinstance(module, CONVOLUTIONS):
            module.register_forward_hook(_recorder(found, path, spec))
    with torch.no_grad():
        model(torch.empty(1, 3, *spec.image_size, device="meta"))
    return tuple(found)


def _recorder(
    found: list[ConvLayer], path: str, spec: ArchSpec
) -> Callable[[Any, tuple[Tensor, ...], Tensor], None]:
    def record(module: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        area, (height, width) = math.prod(module.kernel_size), output.shape[2:]
        layer = ConvLayer(
            path=path,
            level=round(spec.image_size[0] / height).bit_length() - 1,
            kernel_area=area,
            c_in=module.in_channels,
            c_out=module.out_channels,
            cells=height * width,
            macs=conv_macs(module, inputs[0], output),
        )
        found.append(layer)

    return record
