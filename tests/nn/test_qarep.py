"""Re-parameterizable blocks."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from detkit.nn.blocks import Fusable, FusedConv
from detkit.nn.qarep import REPARAM_BLOCKS, PointConv, identity_kernel
from detkit.spec.arch import KERNELS

SHAPES = [(8, 8, 1, True), (8, 8, 1, False), (8, 12, 1, False), (3, 16, 2, False)]


def settled(block: nn.Module) -> nn.Module:
    """The block after a few training steps' worth of statistics."""
    generator = torch.Generator().manual_seed(1)
    for layer in block.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean = torch.randn(layer.num_features, generator=generator)
            layer.running_var = 0.2 + torch.rand(layer.num_features, generator=generator)
            layer.weight.data = 0.5 + torch.rand(layer.num_features, generator=generator)
            layer.bias.data = torch.randn(layer.num_features, generator=generator)
    return block.eval()


@pytest.mark.parametrize("kind", REPARAM_BLOCKS)
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(("c_in", "c_out", "stride", "residual"), SHAPES)
def test_fused_block_equals_branches(
    kind: str, kernel: int, c_in: int, c_out: int, stride: int, residual: bool
) -> None:
    torch.manual_seed(0)
    block = settled(
        REPARAM_BLOCKS[kind](
            c_in, c_out, kernel=kernel, stride=stride, residual=residual, activation="relu"
        )
    ).double()
    x = torch.randn(2, c_in, 10, 14, dtype=torch.float64)
    assert isinstance(block, Fusable)
    fused = block.fuse().double()
    with torch.no_grad():
        assert isinstance(fused, FusedConv)
        assert fused.conv.kernel_size == (kernel, kernel)
        assert torch.allclose(fused(x), block(x), atol=1e-5)
        assert block(x).abs().max() > 0.5


@pytest.mark.parametrize("kind", REPARAM_BLOCKS)
def test_residual_needs_equal_shapes(kind: str) -> None:
    with pytest.raises(AssertionError):
        REPARAM_BLOCKS[kind](8, 8, stride=2, residual=True, activation="relu")


def test_point_conv_equals_a_strided_1x1_convolution() -> None:
    point = PointConv(4, 6, stride=2, bias=True)
    x = torch.randn(2, 4, 9, 10)
    assert torch.equal(point(x), F.conv2d(x[:, :, ::2, ::2], point.weight, point.bias))
    assert torch.allclose(point(x), F.conv2d(x, point.weight, point.bias, stride=2), atol=1e-6)


def test_identity_kernel_passes_its_input_through() -> None:
    x = torch.randn(1, 5, 3, 3)
    assert torch.equal(F.conv2d(x, identity_kernel(torch.empty(5, 5, 1, 1))), x)


def test_narrow_strided_blocks_do_not_corrupt_the_heap() -> None:
    """torch 2.13 on CPU crashes in the backward of a strided, narrow, channels_last 1x1."""
    script = """
import torch
from detkit.nn.qarep import REPARAM_BLOCKS
for kind in REPARAM_BLOCKS.values():
    for c_in, c_out in ((3, 4), (3, 16), (4, 8), (8, 8), (12, 16)):
        for stride in (1, 2):
            block = kind(c_in, c_out, stride=stride, activation="relu")
            block = block.to(memory_format=torch.channels_last)
            x = torch.randn(4, c_in, 64, 64).to(memory_format=torch.channels_last)
            for _ in range(3):
                block(x.requires_grad_()).square().mean().backward()
print("alive")
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=120,
        env={"MALLOC_CHECK_": "3", "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr
