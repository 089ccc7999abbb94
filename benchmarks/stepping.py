"""A whole training step as `detkit train` makes it, to be timed alone."""

from __future__ import annotations

from collections.abc import Callable

import torch

from detkit.config import TrainConfig
from detkit.data.training.labels import Labels
from detkit.nn.checkpoint import new_detector
from detkit.spec.zoo import find_arch, with_task
from detkit.train.optim import Ema, make_optimizer
from detkit.train.step import PlainStep, StepContext


def training_step(
    name: str,
    images: torch.Tensor,
    labels: Labels,
    *,
    classes: int,
    amp: str = "auto",
    compiled: bool = False,
) -> Callable[[], int]:
    """Forward, loss, backward, update and averaging on one batch, on the device of its images."""
    device = images.device
    config = TrainConfig(batch=len(images), amp=amp)
    height, width = images.shape[2:]
    spec = with_task(find_arch(name), classes, (height, width))
    model = new_detector(spec, 0).train().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if compiled:
        model.outputs = torch.compile(model.outputs)
    optimizer, average = make_optimizer(model, config.optim), Ema(model, config.optim.ema)
    strategy = PlainStep(StepContext.of_one_process(model, config, device))
    labels = labels.to(device)

    def step() -> int:
        strategy.learn(images, labels, epoch=0, batch=0)
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.optim.clip_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        average.update(model)
        return len(images)

    return step
