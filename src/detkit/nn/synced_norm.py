"""Batch-norm whose statistics are of the batches of all processes together.

torch's own `SyncBatchNorm` does the same on GPUs alone, and is no `BatchNorm2d`, so that fusing
would not know it. Peng et al., MegDet, CVPR 2018, arXiv 1711.07240. Every process brings as many
images of the same size. Legend: B batch of one process, C channels, N processes.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


class SyncedBatchNorm(nn.BatchNorm2d):
    """A `BatchNorm2d` that trains as if all processes' images were one batch."""

    @classmethod
    def of(cls, norm: nn.BatchNorm2d) -> SyncedBatchNorm:
        """The synchronised form of a batch-norm, with the same parameters and buffers."""
        with torch.device("meta"):
            synced = cls(norm.num_features, eps=norm.eps, momentum=norm.momentum)
        for name, parameter in norm.named_parameters():
            synced.register_parameter(name, parameter)
        for name, buffer in norm.named_buffers():
            synced.register_buffer(name, buffer)
        return synced.train(norm.training)

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and dist.is_initialized()):
            return super().forward(x)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        out, mean, var = _SyncedNorm.apply(  # type: ignore[no-untyped-call]
            x, self.weight, self.bias, self.eps
        )
        count = x.numel() // x.shape[1] * dist.get_world_size()
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
            unbiased = var * (count / max(count - 1, 1))
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), self.momentum)
        normalized: Tensor = out
        return normalized


def sync_batch_norms(module: nn.Module) -> None:
    """Puts the synchronised form in place of every batch-norm inside `module`."""
    for name, child in module.named_children():
        if type(child) is nn.BatchNorm2d:
            setattr(module, name, SyncedBatchNorm.of(child))
        else:
            sync_batch_norms(child)


def is_synced(module: nn.Module) -> bool:
    """Whether any batch-norm inside is synchronised."""
    return any(isinstance(child, SyncedBatchNorm) for child in module.modules())


class _SyncedNorm(torch.autograd.Function):
    """Normalises by the statistics of all processes; one exchange forward, one backward."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        # torch's own pass for its statistics alone: twenty times as fast as var_mean on a CPU
        _, mean_c, inverse_c = torch.native_batch_norm(x, weight, bias, None, None, True, 0.0, eps)
        mean_c, var_c = _together(mean_c, inverse_c.pow(-2) - eps)
        out: Tensor = torch.native_batch_norm(x, weight, bias, mean_c, var_c, False, 0.0, eps)[0]
        ctx.save_for_backward(x, weight, mean_c, var_c)
        ctx.eps = eps
        ctx.mark_non_differentiable(mean_c, var_c)
        return out, mean_c, var_c

    @staticmethod
    def backward(ctx: Any, above: Tensor, *_: Tensor) -> tuple[Tensor | None, Tensor, Tensor, None]:
        """The gradient with fixed statistics, less what moves them: its mean, and along x."""
        x, weight, mean_c, var_c = ctx.saved_tensors
        _, dweight, dbias = torch.ops.aten.native_batch_norm_backward(
            above, x, weight, mean_c, var_c, None, None, False, ctx.eps, [False, True, True]
        )
        if not ctx.needs_input_grad[0]:
            return None, dweight, dbias, None
        sums = torch.stack([dbias, dweight])
        dist.all_reduce(sums)
        sums /= x.numel() // x.shape[1] * dist.get_world_size()
        mean_of_above_c, mean_along_c = sums
        inverse_c = (var_c + ctx.eps).rsqrt()
        scale_c = weight * inverse_c
        slope_c = -scale_c * inverse_c * mean_along_c
        shift_c = -scale_c * mean_of_above_c - slope_c * mean_c
        shift, slope, scale = (c.view(1, -1, 1, 1).to(x.dtype) for c in (shift_c, slope_c, scale_c))
        dx = torch.addcmul(shift, x, slope).addcmul_(above, scale)
        return dx, dweight, dbias, None


def _together(mean_c: Tensor, var_c: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance over all processes, of those of each; no large numbers cancel."""
    mine = torch.stack([mean_c, var_c])
    every = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(every, mine)
    means_nc, vars_nc = torch.stack(every).unbind(1)
    mean_of_all_c = means_nc.mean(0)
    return mean_of_all_c, vars_nc.mean(0) + (means_nc - mean_of_all_c).square().mean(0)
