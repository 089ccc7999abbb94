"""Batch-norm statistics of a network with shared weights: its own, from training images.

Those of a supernet under training lag behind its weights and mix its image sizes; those of its
subnets were never kept. So every network gets its own before it is scored or saved.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from detkit.core.errors import UsageError
from detkit.data.coco.split_reader import ImageRecord
from detkit.nn.detector import Detector
from detkit.quantize.calibrate import load_images, subsample_evenly
from detkit.spec.arch import STRIDES
from detkit.spec.preprocess import Preprocess


def plain_batches(
    records: Sequence[ImageRecord], size: tuple[int, int], *, count: int, batch: int
) -> Iterator[Tensor]:
    """Loads up to `count` batches (B, 3, H, W) as evaluation sees them, evenly over all images."""
    chosen = subsample_evenly(records, count * batch)
    for images in load_images(chosen, Preprocess.filling(size), batch):
        yield torch.from_numpy(images)


@torch.no_grad()
def recalibrate(model: Detector, batches: Iterable[Tensor]) -> None:
    """Gives every batch-norm the mean statistics of its inputs over the batches; ends in eval.

    A batch that would give them one value, which has no variance, is left out.

    Raises:
        UsageError: there is no other batch.
    """
    device = next(model.parameters()).device
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    momentum = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's word for a cumulative average
    model.train()
    used = 0
    for images in batches:
        if images[:, 0, :: STRIDES[-1], :: STRIDES[-1]].numel() > 1:
            model(images.to(device))
            used += 1
    if not used:
        raise UsageError(
            "batches of one image of one cell leave batch-norms a single value",
            hint="--set train.batch=2, or larger images",
        )
    for norm, value in zip(norms, momentum, strict=True):
        norm.momentum = value
    model.eval()
