"""Why QARepVGG: a fused block in 8 bits when some channels of the identity hardly ever fire.

Chu et al., arXiv 2212.01593, section 3.2: behind a ReLU such a channel has a tiny running variance.
RepVGG's batch-norm on the identity turns it into an outlier of the fused kernel; QARepVGG has none
there. No training is needed to see it.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from detkit.nn.blocks import Fusable, FusedConv
from detkit.nn.qarep import REPARAM_BLOCKS
from detkit.nn.quantization.fake_quant import Quantizer, quantize_weight

CHANNELS, QUIET = 32, 4  # channels of the block, and those of them that rarely fire
FORMS = ("per tensor", "per channel")


def per_tensor(weight: Tensor) -> Tensor:
    """`quantize_weight` with one scale for all output channels."""
    return quantize_weight(weight.reshape(1, -1, 1, 1), 8).reshape(weight.shape)


def settled(kind: str, x: Tensor) -> nn.Module:
    """A block whose every batch-norm has the statistics of `x`."""
    torch.manual_seed(0)
    block = REPARAM_BLOCKS[kind](CHANNELS, CHANNELS, residual=True, activation="relu").train()
    for layer in block.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum, layer.eps = 1.0, 1e-5
    with torch.no_grad():
        block(x)
    return block.eval()


def firing(variance: float) -> Tensor:
    """Non-negative inputs, four channels of which have this variance, the others 1."""
    x = torch.randn(8, CHANNELS, 16, 16, generator=torch.Generator().manual_seed(1)).relu()
    x = x / x.std(dim=(0, 2, 3), keepdim=True)
    scale = torch.ones(CHANNELS)
    scale[:QUIET] = math.sqrt(variance)
    return x * scale[:, None, None]


@torch.no_grad()
def decibels(kind: str, variance: float, form: str) -> float:
    """Signal over rounding noise of the block's output: 8 bits for input, weight and output."""
    x = firing(variance)
    block = settled(kind, x)
    assert isinstance(block, Fusable)
    fused = block.fuse()
    assert isinstance(fused, FusedConv)
    exact = fused(x)
    weight = fused.conv.weight
    rounded = quantize_weight(weight, 8) if form == "per channel" else per_tensor(weight)
    fused.conv.weight.copy_(rounded)
    noisy = rounded_to_range(fused(rounded_to_range(x)), exact)
    return float(10 * torch.log10(exact.square().sum() / (noisy - exact).square().sum()))


def rounded_to_range(x: Tensor, like: Tensor | None = None) -> Tensor:
    quantizer = Quantizer()
    quantizer.set_range(0.0, float((x if like is None else like).max()))
    rounded: Tensor = quantizer(x)
    return rounded


@pytest.mark.parametrize("form", FORMS)
def test_both_blocks_are_fine_while_all_channels_fire(form: str) -> None:
    for kind in REPARAM_BLOCKS:
        assert decibels(kind, 1.0, form) > 25


@pytest.mark.parametrize("form", FORMS)
def test_repvgg_collapses_with_quiet_channels(form: str) -> None:
    found = [decibels("repvgg", variance, form) for variance in (1.0, 1e-1, 1e-2, 1e-4)]
    assert found == sorted(found, reverse=True)
    assert found[0] - found[-1] > 10


@pytest.mark.parametrize("form", FORMS)
def test_qarepvgg_does_not(form: str) -> None:
    found = [decibels("qarepvgg", variance, form) for variance in (1.0, 1e-1, 1e-2, 1e-4)]
    assert min(found) > 25
    assert max(found) - min(found) < 4


def test_scales_of_channels_help_repvgg_but_do_not_save_it() -> None:
    assert 25 > decibels("repvgg", 1e-4, "per channel") > decibels("repvgg", 1e-4, "per tensor")
