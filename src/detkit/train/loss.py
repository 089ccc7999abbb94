"""The PPYoloE loss: varifocal classes, GIoU boxes, distribution focal distances.

Xu et al., PP-YOLOE, 2022, arXiv 2203.16250; varifocal loss arXiv 2008.13367, GIoU arXiv
1902.09630, DFL arXiv 2006.04388. Boxes are compared in cells of their level, assignment is in
pixels. Legend: B batch, A anchor points, C classes, D = 4 * (reg_max + 1), P positives.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.config import LossConfig
from detkit.data.training.labels import Labels
from detkit.nn.decode import anchor_points, boxes_from_distances
from detkit.nn.head import expected_distances
from detkit.train.assign import Assignment, assign, pad_targets

FOCAL_ALPHA, FOCAL_GAMMA = 0.75, 2.0
GIOU_EPS = 1e-10
BIN_MARGIN = 0.01  # targets stay this far below the last bin


@dataclass(frozen=True)
class LossParts:
    """The loss and its parts: scalars, weighted and divided by the sum of the soft targets."""

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
            logits_bac.float().sigmoid(),
            self._boxes_cells(distances_bad.float()) * self.strides,
            self.points * self.strides,
            pad_targets(labels, len(logits_bac)),
            self.config,
        )
        known = labels.known_at(self.points * self.strides, self.image_size)
        return replace(found, known_bac=known)

    def given(self, assignment: Assignment, logits_bac: Tensor, distances_bad: Tensor) -> LossParts:
        """The loss of raw outputs, of this network or another, under an assignment."""
        logits, distances = logits_bac.float(), distances_bad.float()
        norm = assignment.scores_bac.sum().clamp(min=1)
        cls = varifocal_loss(logits, assignment, self.class_weights) * self.config.cls / norm
        iou, dfl = self._box_losses(self._boxes_cells(distances), distances, assignment)
        iou, dfl = iou * self.config.iou / norm, dfl * self.config.dfl / norm
        return LossParts(cls + iou + dfl, cls, iou, dfl)

    def _boxes_cells(self, distances_bad: Tensor) -> Tensor:
        return boxes_from_distances(self.points, expected_distances(distances_bad))

    def _box_losses(
        self, boxes_cells: Tensor, distances: Tensor, assignment: Assignment
    ) -> tuple[Tensor, Tensor]:
        image, anchor = assignment.positive_ba.nonzero(as_tuple=True)
        weight_p = assignment.scores_bac.sum(-1)[image, anchor]
        target_p4 = assignment.boxes_ba4[image, anchor] / self.strides[anchor]
        giou = (giou_loss(boxes_cells[image, anchor], target_p4) * weight_p).sum()
        logits_p4k = distances[image, anchor].reshape(len(image), 4, distances.shape[-1] // 4)
        points_p2 = self.points[anchor]
        wanted_p4 = torch.cat([points_p2 - target_p4[:, :2], target_p4[:, 2:] - points_p2], -1)
        return giou, (distribution_focal_loss(logits_p4k, wanted_p4) * weight_p).sum()


def varifocal_loss(logits_bac: Tensor, assignment: Assignment, class_weights: Tensor) -> Tensor:
    """Summed loss of scores; an assigned class weighs its soft target, others alpha * p^gamma.

    Each class is weighed by `class_weights` (C,), or (1,) for all.
    A class that the labels do not speak of at a point costs nothing there, unless it is assigned.
    """
    targets_bac = assignment.scores_bac
    assigned_bac = torch.zeros_like(targets_bac, dtype=torch.bool)
    assigned_bac.scatter_(2, assignment.classes_ba[..., None], assignment.positive_ba[..., None])
    negative = FOCAL_ALPHA * logits_bac.sigmoid().pow(FOCAL_GAMMA)
    if assignment.known_bac is not None:
        negative = negative * assignment.known_bac
    weight = torch.where(assigned_bac, targets_bac, negative)
    entropy = F.binary_cross_entropy_with_logits(logits_bac, targets_bac, reduction="none")
    return (entropy * weight * class_weights).sum()


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
