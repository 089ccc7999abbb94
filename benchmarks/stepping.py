"""A whole training step as `detkit train` makes it, to be timed alone."""

from __future__ import annotations

from collections.abc import Callable

import torch

from detkit.config import TrainConfig
from detkit.data.training.labels import Labels, certain
from detkit.nn.checkpoint import new_detector
from detkit.spec.zoo import find_arch, with_task
from detkit.train.optim import Ema, make_optimizer
from detkit.train.precision import LossScaler, half_type
from detkit.train.replica import Replica
from detkit.train.step import PlainStep, StepContext

BOXES_AN_IMAGE = 15


def drawn_labels(batch: int, classes: int, imgsz: int) -> Labels:
    """Boxes anywhere in the images of a batch."""
    count = batch * BOXES_AN_IMAGE
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(count, 2, generator=generator) * imgsz * 0.7
    sides = imgsz * (0.03 + 0.2 * torch.rand(count, 2, generator=generator))
    image = torch.arange(batch).repeat_interleave(BOXES_AN_IMAGE)[:, None].float()
    of_class = torch.randint(classes, (count, 1), generator=generator).float()
    return certain(torch.cat([image, of_class, corners, corners + sides], dim=1))


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
    config = TrainConfig(batch=len(images))
    height, width = images.shape[2:]
    spec = with_task(find_arch(name), classes, (height, width))
    model = new_detector(spec, 0).train().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if compiled:
        model.outputs = torch.compile(model.outputs)
    optimizer, average = make_optimizer(model, config.optim), Ema(model, config.optim.ema)
    strategy = PlainStep(
        StepContext(
            model=model,
            replica=Replica(model, sync_norms=False),
            config=config,
            device=device,
            scaler=LossScaler(half_type(amp, device), device),
            class_weights=torch.ones(classes),
        )
    )
    labels = labels.to(device)

    def step() -> int:
        strategy.learn(images, labels, epoch=0, batch=0)
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.optim.clip_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        average.update(model)
        return len(images)

    return step
