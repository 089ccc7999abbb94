"""Blocks that are deployed as they are trained."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import nn

from detkit.engines.coverage import coverage
from detkit.nn.blocks import Conv, FusedConv, fuse_inside
from detkit.nn.plain_blocks import PLAIN_BLOCKS, block_maker, strided_block
from detkit.nn.qarep import REPARAM_BLOCKS
from detkit.spec.arch import BLOCK_KINDS, KERNELS
from detkit.spec.zoo import ZOO, with_task
from detkit.untrained import write_untrained_model

SPEC = ZOO["yolo-nas-p"]


def test_the_two_tables_hold_every_kind_once() -> None:
    assert sorted([*PLAIN_BLOCKS, *REPARAM_BLOCKS]) == sorted(BLOCK_KINDS)


@pytest.mark.parametrize("kind", PLAIN_BLOCKS)
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(("c_in", "c_out"), [(8, 8), (3, 7), (1, 1)])
def test_fused_unit_equals_the_trained_one(kind: str, kernel: int, c_in: int, c_out: int) -> None:
    torch.manual_seed(0)
    block = PLAIN_BLOCKS[kind](c_in, c_out, kernel=kernel, activation="silu").double()
    x = 1 + 2 * torch.randn(2, c_in, 10, 14, dtype=torch.float64)
    for _ in range(20):
        block.train()(x)  # moves the statistics away from 0 and 1
    block.eval()
    fused = nn.Sequential(block)
    with torch.no_grad():
        expected = block(x)
        fuse_inside(fused)
        assert torch.allclose(fused.double()(x), expected, atol=1e-5)
    assert expected.shape == (2, c_out, 10, 14)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in fused.modules())
    assert any(isinstance(layer, FusedConv) for layer in fused.modules())


@pytest.mark.parametrize("kind", PLAIN_BLOCKS)
def test_gradients_reach_every_weight(kind: str) -> None:
    block = PLAIN_BLOCKS[kind](4, 6, kernel=3, activation="silu").train()
    block(torch.randn(2, 4, 8, 8)).square().mean().backward()
    assert all(parameter.grad is not None for parameter in block.parameters())


@pytest.mark.parametrize("kind", PLAIN_BLOCKS)
def test_networks_of_units_run_in_int8(kind: str, tmp_path: Path) -> None:
    spec = dataclasses.replace(
        with_task(SPEC, 3, (64, 64)), block=kind, kernel=5, activation="silu"
    )
    path = tmp_path / "p.onnx"
    write_untrained_model(spec, path, engine="onnxruntime", precision="int8")
    found = coverage(path, "onnxruntime")
    assert found.int8 == found.total - 6  # all but the predictors


def weights(kind: str, kernel: int) -> int:
    """Of the convolutions of a block of 64 channels."""
    block = PLAIN_BLOCKS[kind](64, 64, kernel=kernel, activation="relu")
    return sum(conv.weight.numel() for conv in block.modules() if isinstance(conv, nn.Conv2d))


@pytest.mark.parametrize(
    ("kind", "shares"),  # of the square of the channels, by kernel
    [
        ("conv", {3: 9, 5: 25}),
        ("bottleneck", {3: 5, 5: 13}),
        ("csp", {3: 4.25, 5: 8.25}),
        ("lowrank", {3: 6, 5: 10}),
        ("depthwise", {3: 1 + 9 / 64, 5: 1 + 25 / 64}),
    ],
)
def test_units_cost_what_counting_by_hand_gives(kind: str, shares: dict[int, float]) -> None:
    for kernel, share in shares.items():
        assert weights(kind, kernel) == share * 64**2


@pytest.mark.parametrize("kind", BLOCK_KINDS)
def test_downsampling_is_of_the_kind_only_where_that_is_reparameterizable(kind: str) -> None:
    spec = dataclasses.replace(SPEC, block=kind)
    block = strided_block(spec, 4, 8)
    assert type(block) is REPARAM_BLOCKS.get(kind, Conv)
    assert block(torch.randn(2, 4, 8, 8)).shape == (2, 8, 4, 4)
    assert block_maker(spec)(4, 8)(torch.randn(2, 4, 8, 8)).shape == (2, 8, 8, 8)
