from __future__ import annotations

import pytest
import torch
from torch import Tensor

from detkit.nn.memory_format import concatenate, every_nth

FORMATS = [torch.channels_last, torch.contiguous_format]


def image(channels: int, memory_format: torch.memory_format) -> Tensor:
    made = torch.randn(2, channels, 7, 9, dtype=torch.float64).contiguous(
        memory_format=memory_format
    )
    return made.requires_grad_()


@pytest.mark.parametrize("memory_format", FORMATS)
def test_every_nth_pixel_is_a_slice_with_gradients_in_its_format(
    memory_format: torch.memory_format,
) -> None:
    x = image(5, memory_format)
    assert torch.equal(every_nth(x, 2), x[:, :, ::2, ::2])
    (gradient,) = torch.autograd.grad(every_nth(x, 2).square().sum(), x)
    (wanted,) = torch.autograd.grad(x[:, :, ::2, ::2].square().sum(), x)
    assert torch.equal(gradient, wanted)
    assert gradient.is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize("memory_format", FORMATS)
def test_concatenated_channels_have_gradients_in_their_format(
    memory_format: torch.memory_format,
) -> None:
    parts = [image(channels, memory_format) for channels in (3, 1, 4)]
    weights = torch.randn(2, 8, 7, 9, dtype=torch.float64).contiguous(memory_format=memory_format)
    joined = concatenate(parts)
    assert torch.equal(joined, torch.cat(parts, dim=1))
    gradients = torch.autograd.grad((joined * weights).sum(), parts)
    for gradient, wanted in zip(gradients, weights.split([3, 1, 4], dim=1), strict=True):
        assert torch.equal(gradient, wanted)
        assert gradient.is_contiguous(memory_format=memory_format)


def test_gradients_of_gradients_are_right() -> None:
    x = image(2, torch.channels_last)
    assert torch.autograd.gradgradcheck(lambda x: every_nth(x**3, 2), x)
    assert torch.autograd.gradgradcheck(lambda x: concatenate([x**2, x**3]), x)
