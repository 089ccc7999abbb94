"""What the loop asks of a step strategy, and what ordinary training adds to the gradients."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from detkit.config import TrainConfig
from detkit.data.training.labels import Labels
from detkit.nn.detector import Detector
from detkit.train.loss import LossParts
from detkit.train.step import PlainStep
from fixtures.trainers import make_trainer


def test_a_strategy_learns_each_batch_and_prepares_each_validation(
    config: TrainConfig, tmp_path: Path
) -> None:
    calls: list[tuple[int, int] | str] = []

    class Recorded(PlainStep):
        def learn(self, images: Tensor, labels: Labels, *, epoch: int, batch: int) -> LossParts:
            calls.append((epoch, batch))
            return super().learn(images, labels, epoch=epoch, batch=batch)

        def before_validation(self, averaged: Detector) -> None:
            assert not averaged.training
            calls.append("validation")

    make_trainer(config, tmp_path, make_strategy=Recorded).run(resume=False)
    epochs = [[(epoch, batch) for batch in range(4)] for epoch in range(2)]
    assert calls == [*epochs[0], "validation", *epochs[1], "validation"]


def test_an_auxiliary_loss_is_added_to_the_total_and_to_the_gradients(
    config: TrainConfig, tmp_path: Path
) -> None:
    trainer = make_trainer(config, tmp_path, make_strategy=PlainStep)
    context = trainer.strategy.context  # type: ignore[attr-defined]
    batch = next(iter(trainer.loader.epoch(0)))
    found = []
    for auxiliary in (None, lambda images, outputs: outputs.logits.square().mean()):
        context.model.zero_grad()
        parts = PlainStep(context, auxiliary).learn(
            batch.images_on(torch.device("cpu")), batch.labels, epoch=0, batch=0
        )
        gradient = context.model.heads.head1.cls_pred.bias.grad
        found.append((float(parts.total.detach()), gradient.clone()))
    assert found[1][0] > found[0][0]
    assert not torch.equal(found[0][1], found[1][1])
