"""Batch-norm statistics of a network with shared weights: its own, from training images.

Those of a supernet under training lag behind its weights and mix its image sizes; those of its
subnets were never kept. So every network gets its own before it is scored or saved.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from detkit.data.coco.split_reader import ImageRecord
from detkit.nn.detector import Detector
from detkit.quantize.calibrate import load_images, subsample_evenly
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
    """Gives every batch-norm the mean statistics of its inputs over the batches; ends in eval."""
    device = next(model.parameters()).device
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    momentum = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch's word for a cumulative average
    model.train()
    for images in batches:
        model(images.to(device))
    for norm, value in zip(norms, momentum, strict=True):
        norm.momentum = value
    model.eval()
