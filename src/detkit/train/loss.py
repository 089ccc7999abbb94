"""The PPYoloE loss: varifocal classes, GIoU boxes, distribution focal distances.

Xu et al., PP-YOLOE, 2022, arXiv 2203.16250; varifocal loss arXiv 2008.13367, GIoU arXiv
1902.09630, DFL arXiv 2006.04388. Boxes are compared in cells of their level, assignment is in
pixels. Legend: B batch, A anchor points, C classes, D = 4 * (reg_max + 1), P positives.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.config import LossConfig
from detkit.data.training.labels import Labels
from detkit.nn.decode import anchor_points, boxes_from_distances
from detkit.nn.head import expected_distances
from detkit.train.assign import Assignment, assign
from detkit.train.ranks import normalizer

FOCAL_ALPHA, FOCAL_GAMMA = 0.75, 2.0
GIOU_EPS = 1e-10
BIN_MARGIN = 0.01  # targets stay this far below the last bin


@dataclass(frozen=True)
class LossParts:
    """The loss and its parts: scalars, weighted and divided by the sum of the soft targets.

    Where several processes share a batch, their mean is that of all its images.
    """

    total: Tensor
    cls: Tensor
    iou: Tensor
    dfl: Tensor

    def plus(self, more: Tensor) -> LossParts:
        """Adds a further term to the total."""
        return replace(self, total=self.total + more)


class DetectionLoss(nn.Module):
    """Loss of raw predictions at one input size."""

    points: Tensor
    strides: Tensor
    class_weights: Tensor

    def __init__(
        self,
        config: LossConfig,
        image_size: tuple[int, int],
        class_weights: Tensor | None = None,
    ) -> None:
        """Args: weights (C,) of the classes in the class loss, all alike without."""
        super().__init__()
        self.config, self.image_size = config, image_size
        points, strides = anchor_points(image_size)
        self.register_buffer("points", points, persistent=False)
        self.register_buffer("strides", strides, persistent=False)
        weights = torch.ones(1) if class_weights is None else class_weights
        self.register_buffer("class_weights", weights, persistent=False)

    def forward(self, logits_bac: Tensor, distances_bad: Tensor, labels: Labels) -> LossParts:
        """Args: raw network outputs, and the labels of the batch."""
        assignment = self.assign(logits_bac, distances_bad, labels)
        return self.given(assignment, logits_bac, distances_bad)

    @torch.no_grad()
    def assign(self, logits_bac: Tensor, distances_bad: Tensor, labels: Labels) -> Assignment:
        """Assigns to each anchor point what it should predict, by what the network predicts now."""
        found = assign(
            logits_bac,
            self._boxes_cells(distances_bad.float()) * self.strides,
            self.points * self.strides,
            labels,
            self.config,
        )
        known = labels.known_at(self.points * self.strides, self.image_size)
        return replace(found, known_bac=known)

    def given(self, assignment: Assignment, logits_bac: Tensor, distances_bad: Tensor) -> LossParts:
        """The loss of raw outputs, of this network or another, under an assignment."""
        norm = normalizer(assignment.strength_p.sum())
        cls = varifocal_loss(logits_bac, assignment, self.class_weights) * self.config.cls / norm
        iou, dfl = self._box_losses(distances_bad, assignment)
        iou, dfl = iou * self.config.iou / norm, dfl * self.config.dfl / norm
        return LossParts(cls + iou + dfl, cls, iou, dfl)

    def _boxes_cells(self, distances_bad: Tensor) -> Tensor:
        return boxes_from_distances(self.points, expected_distances(distances_bad))

    def _box_losses(self, distances_bad: Tensor, assignment: Assignment) -> tuple[Tensor, Tensor]:
        anchor, weight_p = assignment.anchor_p, assignment.strength_p
        distances_pd = distances_bad[assignment.image_p, anchor].float()
        points_p2 = self.points[anchor]
        boxes_p4 = boxes_from_distances(points_p2, expected_distances(distances_pd))
        target_p4 = assignment.boxes_p4 / self.strides[anchor]
        giou = (giou_loss(boxes_p4, target_p4) * weight_p).sum()
        logits_p4k = distances_pd.reshape(len(anchor), 4, distances_pd.shape[-1] // 4)
        wanted_p4 = torch.cat([points_p2 - target_p4[:, :2], target_p4[:, 2:] - points_p2], -1)
        return giou, (distribution_focal_loss(logits_p4k, wanted_p4) * weight_p).sum()


def varifocal_loss(logits_bac: Tensor, assignment: Assignment, class_weights: Tensor) -> Tensor:
    """Summed loss of scores; an assigned class weighs its soft target, others alpha * p^gamma.

    Each class is weighed by `class_weights` (C,), or (1,) for all.
    A class that the labels do not speak of at a point costs nothing there, unless it is assigned.
    """
    background: Tensor = BackgroundLoss.apply(  # type: ignore[no-untyped-call]
        logits_bac, assignment.known_bac, class_weights
    )
    at = assignment.image_p, assignment.anchor_p, assignment.class_p
    logits_p, target_p = logits_bac[at].float(), assignment.strength_p
    entropy_p = F.binary_cross_entropy_with_logits(logits_p, target_p, reduction="none")
    counted_p = _background_terms(logits_p)[0]
    if assignment.known_bac is not None:
        counted_p = counted_p * assignment.known_bac[at]
    weight_p = class_weights.expand(logits_bac.shape[-1])[assignment.class_p]
    return background + ((target_p * entropy_p - counted_p) * weight_p).sum()


class BackgroundLoss(torch.autograd.Function):
    """The loss of scores that should all be 0, alpha * p^gamma * softplus(logit), summed.

    There are a hundred classes and thousands of points for each one that is assigned, so this is
    most of what a loss costs: value and gradient are made in one pass, on the CPU image by image,
    which stays in its cache.
    """

    @staticmethod
    def forward(
        ctx: Any, logits_bac: Tensor, known_bac: Tensor | None, class_weights: Tensor
    ) -> Tensor:
        gradient = torch.empty_like(logits_bac)
        total = torch.zeros((), device=logits_bac.device)
        num_images = 1 if logits_bac.device.type == "cpu" else max(len(logits_bac), 1)
        for start in range(0, len(logits_bac), num_images):
            chunk = slice(start, start + num_images)
            values, slopes = _background_terms(logits_bac[chunk].float())
            for part in (values, slopes):
                part *= class_weights
                if known_bac is not None:
                    part *= known_bac[chunk]
            total += values.sum()
            gradient[chunk] = slopes
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return gradient * above, None, None


def _background_terms(logits: Tensor) -> tuple[Tensor, Tensor]:
    """The loss of a score that should be 0, and its derivative by the logit."""
    p, entropy = logits.sigmoid(), F.softplus(logits)
    focus = FOCAL_ALPHA * p**FOCAL_GAMMA
    return focus * entropy, focus * (FOCAL_GAMMA * (1 - p) * entropy + p)


def giou_loss(boxes_p4: Tensor, targets_p4: Tensor) -> Tensor:
    """Loss 1 - GIoU (P,) of paired xyxy boxes."""
    top_left = torch.maximum(boxes_p4[:, :2], targets_p4[:, :2])
    bottom_right = torch.minimum(boxes_p4[:, 2:], targets_p4[:, 2:])
    overlap = (bottom_right - top_left).clamp(min=0).prod(-1)
    area = (boxes_p4[:, 2:] - boxes_p4[:, :2]).prod(-1)
    target_area = (targets_p4[:, 2:] - targets_p4[:, :2]).prod(-1)
    union = area + target_area - overlap + GIOU_EPS
    hull_top_left = torch.minimum(boxes_p4[:, :2], targets_p4[:, :2])
    hull_bottom_right = torch.maximum(boxes_p4[:, 2:], targets_p4[:, 2:])
    hull = (hull_bottom_right - hull_top_left).prod(-1) + GIOU_EPS
    return 1 - (overlap / union - (hull - union) / hull)


def distribution_focal_loss(logits_p4k: Tensor, wanted_p4: Tensor) -> Tensor:
    """Cross-entropy against the two bins around the wanted distance, mean of the sides, (P,)."""
    last = logits_p4k.shape[-1] - 1
    wanted = wanted_p4.clamp(0, last - BIN_MARGIN)
    left = wanted.floor()
    right_share = wanted - left
    log_p = logits_p4k.log_softmax(-1)
    left_log_p = log_p.gather(-1, left.long()[..., None]).squeeze(-1)
    right_log_p = log_p.gather(-1, left.long()[..., None] + 1).squeeze(-1)
    return -(left_log_p * (1 - right_share) + right_log_p * right_share).mean(-1)
