"""Slicing and concatenation whose gradients are as fast to work on as the images themselves.

Those of torch's own slice and of its own concatenation are contiguous, or views with gaps: whatever
they meet on their way back through a network in channels_last becomes several times as slow.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def every_nth(x: Tensor, step: int) -> Tensor:
    """Every nth pixel of each row and column of (B, C, H, W), from the first one on."""
    if not needs_gradient(x):
        return x[:, :, ::step, ::step]
    out: Tensor = _EveryNth.apply(x, step)  # type: ignore[no-untyped-call]
    return out


def concatenate(parts: Sequence[Tensor]) -> Tensor:
    """The channels of all parts (B, C, H, W), one part after the other."""
    if not needs_gradient(*parts):
        return torch.cat([*parts], dim=1)
    out: Tensor = _Concatenated.apply(*parts)  # type: ignore[no-untyped-call]
    return out


def needs_gradient(*tensors: Tensor) -> bool:
    """Whether a backward pass will come; a stand-in that a graph is traced with has none."""
    return torch.is_grad_enabled() and any(
        isinstance(tensor, Tensor) and tensor.requires_grad for tensor in tensors
    )


def _format_of(x: Tensor) -> torch.memory_format:
    """channels_last where that is how `x` lies in memory."""
    is_last = x.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if is_last else torch.contiguous_format


class _EveryNth(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, step: int) -> Tensor:
        ctx.step, ctx.shape, ctx.format = step, x.shape, _format_of(x)
        return x[:, :, ::step, ::step].contiguous(memory_format=ctx.format)

    @staticmethod
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor, None]:
        gradient = torch.empty(
            ctx.shape,
            dtype=above.dtype,
            device=above.device,
            memory_format=ctx.format,
        ).zero_()
        gradient[:, :, :: ctx.step, :: ctx.step] = above
        return gradient, None


class _Concatenated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *parts: Tensor) -> Tensor:
        ctx.widths = [part.shape[1] for part in parts]
        return torch.cat(parts, dim=1)

    @staticmethod
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor, ...]:
        parts = above.split(ctx.widths, dim=1)
        return tuple(part.contiguous(memory_format=_format_of(above)) for part in parts)
