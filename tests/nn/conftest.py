"""Networks small enough to run in milliseconds."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from detkit.nn.detector import Detector


def randomize(module: nn.Module, seed: int = 0) -> None:
    """Batch-norm statistics and scales as training leaves them, not as initialised."""
    generator = torch.Generator().manual_seed(seed)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for tensor, low in ((layer.running_var, 0.3), (layer.weight, 0.5)):
                tensor.data = low + torch.rand(tensor.shape, generator=generator)
            for tensor in (layer.running_mean, layer.bias):
                tensor.data = 0.4 * torch.randn(tensor.shape, generator=generator)


@pytest.fixture
def tiny() -> Detector:
    """yolo-nas-p of 3 classes at 64 px, with batch-norms as after training."""
    from detkit.nn.checkpoint import new_detector
    from detkit.spec.zoo import ZOO, with_task

    model = new_detector(with_task(ZOO["yolo-nas-p"], 3, (64, 64)), seed=0)
    randomize(model)
    return model.eval()
