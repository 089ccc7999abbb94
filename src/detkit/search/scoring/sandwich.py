"""What a step of a supernet learns: the largest network and some of its subnets from one batch.

First the largest network learns alone, which costs a quarter a step and gives its subnets a start
(Cai et al., Once-for-All, ICLR 2020, arXiv 1908.09791). Then the sandwich rule and in-place
distillation (Yu et al., BigNAS, ECCV 2020, arXiv 2003.11142): a step trains the largest network,
random ones and the smallest; gradients are summed. Which anchor points answer for which ground
truth is decided once, by the largest network. A subnet learns from the boxes and from what the
largest network says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from detkit.config import SupernetConfig
from detkit.data.coco.split_reader import ImageRecord
from detkit.data.training.labels import Labels
from detkit.nn.detector import Detector
from detkit.nn.supernet.elastic import Elastic
from detkit.search.scoring.recalibrate import plain_batches, recalibrate
from detkit.search.strategies.discrete_space import DiscreteSpace
from detkit.spec.arch import ArchSpec
from detkit.spec.space import SearchSpace
from detkit.train.assign import Assignment
from detkit.train.distill import distance_divergence, score_divergence
from detkit.train.loss import DetectionLoss, LossParts
from detkit.train.ranks import normalizer
from detkit.train.step import StepContext

DISTILL_CLS, DISTILL_BOX = 1.0, 1.0  # weights of the loss against the largest network


class SandwichStep:
    """The sandwich rule as a `train.step.StepStrategy`."""

    def __init__(
        self,
        context: StepContext,
        *,
        space: SearchSpace,
        settings: SupernetConfig,
        records: Sequence[ImageRecord],
    ) -> None:
        """Keeps `records`, the images that batch-norm statistics are taken from."""
        self.context, self.space, self.settings = context, space, settings
        self.records = records
        self.epochs_alone = round(settings.largest_first * context.config.epochs)
        self.discrete, self.elastic = DiscreteSpace(space.knobs), Elastic(context.model)
        self.losses_at: dict[tuple[int, int], DetectionLoss] = {}

    def learn(self, images: Tensor, labels: Labels, *, epoch: int, batch: int) -> LossParts:
        """Learns one sandwich at one image size; returns the loss of the largest network."""
        rng = np.random.default_rng([self.context.config.seed, epoch, batch])
        sizes = image_sizes(self.space)
        images, labels = resized(images, labels, sizes[int(rng.integers(len(sizes)))])
        loss = self._loss_at((images.shape[2], images.shape[3]))
        replica, subnets = self.context.replica, list(self._subnets(epoch, rng))
        with replica.summing(bool(subnets)):
            with self.context.autocast():
                logits, distances = replica(self.context.model, images)
            assignment = loss.assign(logits, distances, labels)
            parts = loss.given(assignment, logits, distances)
            self.context.backward(parts.total)
        teacher = logits.detach().float(), distances.detach().float()
        for number, spec in enumerate(subnets, 1):
            with replica.summing(number < len(subnets)):
                with self.context.autocast():
                    logits, distances = replica(self.elastic, images, spec)
                own = loss.given(assignment, logits, distances).total
                distilled = distillation_loss(assignment, logits, distances, teacher)
                self.context.backward(own + distilled)
        return parts

    def before_validation(self, averaged: Detector) -> None:
        """Gives the largest network the batch-norm statistics that it is scored with."""
        count, batch = self.settings.recalibration_batches, self.context.config.batch
        size = self.context.model.spec.image_size
        recalibrate(averaged, plain_batches(self.records, size, count=count, batch=batch))

    def _subnets(self, epoch: int, rng: np.random.Generator) -> Iterator[ArchSpec]:
        """Yields random networks, then the smallest; none while the largest one learns alone."""
        if epoch < self.epochs_alone:
            return
        for row in self.discrete.sample(self.settings.random_nets, rng):
            yield self.space.to_arch(self.discrete.to_point(row))
        yield self.space.to_arch(self.space.smallest_point())

    def _loss_at(self, size: tuple[int, int]) -> DetectionLoss:
        if size not in self.losses_at:
            loss = DetectionLoss(self.context.config.loss, size, self.context.class_weights)
            self.losses_at[size] = loss.to(self.context.device)
        return self.losses_at[size]


def distillation_loss(
    assignment: Assignment, logits: Tensor, distances: Tensor, teacher: tuple[Tensor, Tensor]
) -> Tensor:
    """Cross-entropy to the teacher's class scores, KL to its distances at the positives."""
    strength_p = assignment.strength_p
    norm = normalizer(strength_p.sum())
    cls = score_divergence(logits.float(), teacher[0]).sum()
    at = assignment.image_p, assignment.anchor_p
    box = (distance_divergence(distances[at].float(), teacher[1][at]) * strength_p).sum()
    total: Tensor = (DISTILL_CLS * cls + DISTILL_BOX * box) / norm
    return total


def image_sizes(space: SearchSpace) -> list[tuple[int, int]]:
    """Every (height, width) that a network of the space may have."""
    sizes = space.knobs.get("image_size", (space.base.image_size,))
    return [(size[0], size[1]) for size in sizes if isinstance(size, tuple)]


def resized(images: Tensor, labels: Labels, size: tuple[int, int]) -> tuple[Tensor, Labels]:
    """Scales a batch to another size, its boxes along with it."""
    height, width = images.shape[2:]
    if (height, width) == size:
        return images, labels
    images = F.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False)
    moved = labels.scaled(size[1] / width, size[0] / height)
    return images.contiguous(memory_format=torch.channels_last), moved
