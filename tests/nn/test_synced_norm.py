from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from detkit.nn.synced_norm import SyncedBatchNorm, sync_batch_norms
from detkit.train import ranks
from fixtures.several_ranks import in_ranks


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_batch_in_two_processes_is_normalized_as_in_one(layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    images = (3 + torch.randn(4, 3, 5, 6)).contiguous(memory_format=layout)
    norm = nn.BatchNorm2d(3)
    nn.init.normal_(norm.weight)
    factors = torch.randn(images.shape)

    def passed(norm: nn.BatchNorm2d, part: slice) -> list[Tensor]:
        """Output, gradients of input, weight and bias, and statistics of a training pass."""
        x = images[part].clone().requires_grad_(True)
        out = norm(x)
        (out * factors[part]).sum().backward()
        found = (out, x.grad, norm.weight.grad, norm.bias.grad, *norm.buffers())
        return [tensor.detach() for tensor in found if tensor is not None]

    def half() -> list[Tensor]:
        synced = SyncedBatchNorm.of(copy.deepcopy(norm))
        return passed(synced, slice(2 * ranks.rank(), 2 * ranks.rank() + 2))

    first, second = in_ranks(2, half)
    out, dx, dweight, dbias, *buffers = passed(norm, slice(None))
    torch.testing.assert_close(torch.cat([first[0], second[0]]), out)
    torch.testing.assert_close(torch.cat([first[1], second[1]]), dx)
    torch.testing.assert_close(first[2] + second[2], dweight)
    torch.testing.assert_close(first[3] + second[3], dbias)
    for mine, others, expected in zip(first[4:], second[4:], buffers, strict=True):
        torch.testing.assert_close(mine, expected)
        assert torch.equal(mine, others)


def test_only_plain_batch_norms_are_replaced_and_keep_their_tensors() -> None:
    module = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Sequential(nn.BatchNorm2d(2, eps=0.5)))
    before, alone = dict(module.state_dict(keep_vars=True)), copy.deepcopy(module)
    sync_batch_norms(module)
    assert all(tensor is before[name] for name, tensor in module.state_dict(keep_vars=True).items())
    synced = module.get_submodule("1.0")
    assert isinstance(synced, SyncedBatchNorm)
    assert synced.eps == 0.5
    images = torch.randn(3, 1, 4, 4)
    assert torch.equal(module(images), alone(images))  # an ordinary one, without other processes
