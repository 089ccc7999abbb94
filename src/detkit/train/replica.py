"""The network under training as each process of a run holds it: the same weights, one gradient.

torch's DistributedDataParallel averages the gradients bucket by bucket while the backward pass is
still under way. Its buffers are not broadcast: batch-norm statistics are either of all processes
already (`nn.synced_norm`) or averaged by `average_statistics`, which loses none of the images.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import warnings
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from detkit.config import TrainConfig
from detkit.nn.detector import Detector
from detkit.nn.synced_norm import SyncedBatchNorm, sync_batch_norms
from detkit.train import ranks

T = TypeVar("T")

LEAST_IMAGES = 16  # that statistics are taken of; below, AP falls: arXiv 1803.08494, table 2


def syncs_batch_norms(config: TrainConfig) -> bool:
    """Whether batch-norms see all processes' images: `auto` says yes below 16 of their own."""
    images = config.batch // ranks.world()
    return images < LEAST_IMAGES if config.sync_bn == "auto" else config.sync_bn == "on"


def images_of_a_norm(config: TrainConfig) -> int:
    """The images of a batch whose statistics a batch-norm takes together."""
    return config.batch if syncs_batch_norms(config) else config.batch // ranks.world()


class Replica:
    """Runs passes of a network whose gradients are the mean over all processes of the run."""

    def __init__(self, model: Detector, *, sync_norms: bool, uses_all: bool = True) -> None:
        """Takes the model as it is; its batch-norms are replaced where they are to be synchronised.

        Args:
            uses_all: whether the last pass of a step uses all weights; finding out which it does
                not takes time.
        """
        self.model = model
        if sync_norms and ranks.is_shared():
            sync_batch_norms(model)
        self._parallel = _parallel(model, uses_all=uses_all) if ranks.is_shared() else None

    def __call__(self, run: Callable[..., T], *inputs: Any) -> T:
        """Calls `run(*inputs)`, a pass of the network, so that its gradients will be averaged."""
        if self._parallel is None:
            return run(*inputs)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*find_unused_parameters=True.*")
            out: T = self._parallel(run, *inputs)
        return out

    def backward(self, loss: Tensor) -> None:
        """Adds the gradients of `loss` (scalar)."""
        with warnings.catch_warnings():  # of 1x1 kernels, for which both strides mean the same
            warnings.filterwarnings("ignore", message="Grad strides do not match bucket view.*")
            loss.backward()

    @contextlib.contextmanager
    def summing(self, yes: bool = True) -> Iterator[None]:
        """Passes within only add to the gradients of this process; the next one averages all."""
        if self._parallel is None or not yes:
            yield
            return
        with self._parallel.no_sync():
            yield

    def average_statistics(self) -> None:
        """Gives batch-norms that train by their own images the mean statistics of all processes."""
        norms = [
            module
            for module in self.model.modules()
            if isinstance(module, nn.BatchNorm2d)
            and module.training
            and not isinstance(module, SyncedBatchNorm)
        ]
        found = (buffer for norm in norms for buffer in (norm.running_mean, norm.running_var))
        ranks.average(buffer for buffer in found if buffer is not None)

    def gradients(self) -> list[dict[str, Tensor]]:
        """Gathers the gradients of every process, by name, in the first one: they differ by now."""
        mine = {n: p.grad for n, p in self.model.named_parameters() if p.grad is not None}
        if not ranks.is_shared():
            return [mine]
        return ranks.to_first({name: gradient.cpu() for name, gradient in mine.items()})


class _Passes(nn.Module):
    """Any pass of a network as a module, which is what DistributedDataParallel wraps."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, run: Callable[..., T], *inputs: Any) -> T:
        return run(*inputs)


def _parallel(model: nn.Module, *, uses_all: bool) -> DistributedDataParallel:
    make = functools.partial(
        DistributedDataParallel,
        _Passes(model),
        find_unused_parameters=not uses_all,
    )
    if "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters:
        return make(forward_sync_buffers=False)
    return make(broadcast_buffers=False)  # its name before torch 2.13


def load_gradients(model: nn.Module, saved: list[dict[str, Tensor]]) -> None:
    """Puts saved gradients of every process back: its own, or the mean for another number."""
    if not saved:
        return
    own = saved[ranks.rank() : ranks.rank() + 1] if len(saved) == ranks.world() else saved
    for name in own[0]:
        gradient = torch.stack([one[name] for one in own]).mean(0)
        parameter = model.get_parameter(name)
        parameter.grad = laid_out_as(parameter, gradient)


def laid_out_as(parameter: Tensor, values: Tensor) -> Tensor:
    """The values in the memory format of the parameter, on its device; a count stays as it is.

    A fused optimiser reads both as rows of numbers, whatever their strides say.
    """
    if values.shape != parameter.shape:
        return values
    return torch.empty_like(parameter).copy_(values)
