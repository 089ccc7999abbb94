"""What one training step learns from a batch: strategies that fill the gradients.

The loop (`train.loop`) decides when the optimiser steps, what is validated and what is saved; a
strategy decides what is added to the gradients before. Ordinary training is here, the sandwich rule
of a supernet is in `search.scoring.sandwich`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from detkit.config import TrainConfig
from detkit.data.training.labels import Labels
from detkit.nn.detector import Detector, RawOutputs
from detkit.train.loss import DetectionLoss, LossParts
from detkit.train.precision import LossScaler, half_type
from detkit.train.replica import Replica


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class StepContext:
    """The network under training on its device, and how its passes are run."""

    model: Detector
    replica: Replica  # what the passes of the model are run by
    config: TrainConfig
    device: torch.device
    scaler: LossScaler
    class_weights: Tensor  # (C,), in the class loss

    @classmethod
    def of_one_process(
        cls, model: Detector, config: TrainConfig, device: torch.device
    ) -> StepContext:
        """A context of one process, for a network on its device; all classes are as important."""
        return cls(
            model=model,
            replica=Replica(model, sync_norms=False),
            config=config,
            device=device,
            scaler=LossScaler(half_type(config.amp, device), device),
            class_weights=torch.ones(model.spec.num_classes),
        )

    def autocast(self) -> torch.autocast:
        """The context that forward passes run in."""
        return torch.autocast(
            self.device.type, self.scaler.half, enabled=self.scaler.half is not None
        )

    def backward(self, loss: Tensor) -> None:
        """Adds the gradients of `loss`, as a share of the batches that make one update."""
        self.replica.backward(self.scaler.scale(loss / self.config.batches_per_step))


class StepStrategy(Protocol):
    """How a batch becomes gradients."""

    def learn(self, images: Tensor, labels: Labels, *, epoch: int, batch: int) -> LossParts:
        """Adds the gradients of one batch, both on the device; returns what it cost.

        Passes are run by the context's replica; all but the last one within its `summing`.

        It depends on the weights, the seed and the two counts alone, so that a resumed run ends in
        the same bits.
        """
        ...

    def before_validation(self, averaged: Detector) -> None:
        """Makes the averaged weights, in place, ready to be scored and saved."""
        ...


MakeStrategy = Callable[[StepContext], StepStrategy]


class AuxiliaryLoss(Protocol):
    """A further loss, from the images (B, 3, H, W) and the network's raw outputs on them."""

    def __call__(self, images: Tensor, outputs: RawOutputs) -> Tensor: ...


class PlainStep:
    """One pass of the network, by the boxes and by the auxiliary loss where there is one."""

    def __init__(self, context: StepContext, auxiliary: AuxiliaryLoss | None = None) -> None:
        self.context, self.auxiliary = context, auxiliary
        size = context.model.spec.image_size
        loss = DetectionLoss(context.config.loss, size, context.class_weights)
        self.loss = loss.to(context.device)

    def learn(self, images: Tensor, labels: Labels, *, epoch: int, batch: int) -> LossParts:
        del epoch, batch
        with self.context.autocast():
            outputs = self.context.replica(self.context.model.outputs, images)
        parts: LossParts = self.loss(outputs.logits, outputs.distances, labels)
        if self.auxiliary is not None:
            parts = parts.plus(self.auxiliary(images, outputs))
        self.context.backward(parts.total)
        return parts

    def before_validation(self, averaged: Detector) -> None:
        del averaged
