"""The convolutions of a deployed network as numbers: what its latency is made of.

Read from the network itself, run once on the meta device, so that it holds for every kind of block.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from detkit.nn.detector import build
from detkit.spec.arch import ArchSpec

CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)


@dataclass(frozen=True, kw_only=True)
class ConvLayer:
    """One convolution of one picture. `level` is log2 of its output's stride."""

    path: str
    level: int
    kernel: int
    c_in: int
    c_out: int
    cells: int  # of the output: height x width
    macs: int

    @property
    def weights(self) -> int:
        return self.c_in * self.c_out * self.kernel**2

    @property
    def moved(self) -> int:
        """Values read and written, but for the weights."""
        return self.cells * (self.c_in + self.c_out)


@functools.lru_cache(maxsize=1024)
def conv_layers(spec: ArchSpec) -> tuple[ConvLayer, ...]:
    """In the order they run."""
    model = build(spec, "deployed")
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
        kernel, height = module.kernel_size[0], output.shape[2]
        cells = height * output.shape[3]
        # A transposed convolution touches every input once for each of its kernel's places.
        places = inputs[0].shape[2:].numel() if isinstance(module, nn.ConvTranspose2d) else cells
        c_in, c_out = module.in_channels // module.groups, module.out_channels
        layer = ConvLayer(
            path=path,
            level=round(spec.image_size[0] / height).bit_length() - 1,
            kernel=kernel,
            c_in=c_in,
            c_out=c_out,
            cells=cells,
            macs=places * kernel**2 * c_in * c_out,
        )
        found.append(layer)

    return record
