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
from torch import Tensor, nn

from detkit.nn.blocks import Fusable
from detkit.nn.detector import build
from detkit.spec.arch import ArchSpec

CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)


@dataclass(frozen=True, kw_only=True)
class ConvLayer:
    """One convolution of one picture. `level` is log2 of its output's stride."""

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
        """Values read and written, but for the weights."""
        return self.cells * (self.c_in + self.c_out)


@functools.lru_cache(maxsize=1024)
def conv_layers(spec: ArchSpec) -> tuple[ConvLayer, ...]:
    """In the order they run."""
    model = build(spec, "training").eval()
    _keep_largest(model)
    found: list[ConvLayer] = []
    for path, module in model.named_modules():
        if isinstance(module, CONVOLUTIONS):
            module.register_forward_hook(_recorder(found, path, spec))
    with torch.no_grad():
        model(torch.empty(1, 3, *spec.image_size, device="meta"))
    return tuple(found)


def _keep_largest(module: nn.Module) -> None:
    """Puts the convolution of the largest kernel in the place of each block that fuses into one.

    Its shape is that of the fused convolution; fusing itself takes four times as long.
    """
    for name, child in module.named_children():
        if isinstance(child, Fusable):
            inside = [part for part in child.modules() if isinstance(part, nn.Conv2d)]
            setattr(module, name, max(inside, key=lambda conv: math.prod(conv.kernel_size)))
        else:
            _keep_largest(child)


def _recorder(
    found: list[ConvLayer], path: str, spec: ArchSpec
) -> Callable[[Any, tuple[Tensor, ...], Tensor], None]:
    def record(module: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        area, (height, width) = math.prod(module.kernel_size), output.shape[2:]
        # A transposed convolution touches every input once for each of its kernel's places.
        is_transposed = isinstance(module, nn.ConvTranspose2d)
        places = inputs[0].shape[2:].numel() if is_transposed else height * width
        layer = ConvLayer(
            path=path,
            level=round(spec.image_size[0] / height).bit_length() - 1,
            kernel_area=area,
            c_in=module.in_channels,
            c_out=module.out_channels,
            cells=height * width,
            macs=places * area * module.in_channels * module.out_channels,
        )
        found.append(layer)

    return record
