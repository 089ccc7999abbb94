"""Task-aligned assignment: which anchor points answer for which ground truth, and how strongly.

Feng et al., TOOD, ICCV 2021, arXiv 2108.07755, in the form PPYoloE and YOLO-NAS train with.

Legend: B batch, G ground truths (padded), A anchor points, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from detkit.config import LossConfig
from detkit.data.training.labels import Labels

EPS = 1e-9


@dataclass(frozen=True)
class Targets:
    """Ground truths padded to the fullest image of the batch."""

    boxes_bg4: Tensor  # xyxy pixels
    classes_bg: Tensor  # int64
    valid_bg: Tensor  # bool, False where padded
    scores_bg: Tensor  # how certain each is, 0..1


@dataclass(frozen=True)
class Assignment:
    """The class scores and boxes that each anchor point should predict."""

    boxes_ba4: Tensor  # xyxy pixels of the assigned ground truth; anything where not positive
    classes_ba: Tensor  # int64, likewise
    scores_bac: Tensor  # soft one-hot target, zero where not positive
    positive_ba: Tensor  # bool
    known_bac: Tensor | None = None  # bool, False where the labels do not speak of the class


def pad_targets(labels: Labels, batch: int) -> Targets:
    """Pads the boxes of a batch per image."""
    boxes_n6 = labels.boxes
    image = boxes_n6[:, 0].long()
    counts = torch.bincount(image, minlength=batch)
    most = max(int(counts.max()) if len(image) else 0, 1)
    order = torch.argsort(image, stable=True)
    starts = torch.cumsum(counts, 0) - counts
    slot = torch.arange(len(image), device=image.device) - starts[image[order]]
    boxes = boxes_n6.new_zeros(batch, most, 4)
    classes = torch.zeros(batch, most, dtype=torch.int64, device=image.device)
    valid = torch.zeros(batch, most, dtype=torch.bool, device=image.device)
    boxes[image[order], slot] = boxes_n6[order, 2:]
    classes[image[order], slot] = boxes_n6[order, 1].long()
    valid[image[order], slot] = True
    scores = boxes_n6.new_zeros(batch, most)
    scores[image[order], slot] = labels.scores[order]
    return Targets(boxes, classes, valid, scores)


@torch.no_grad()
def assign(
    scores_bac: Tensor, boxes_ba4: Tensor, points_a2: Tensor, targets: Targets, config: LossConfig
) -> Assignment:
    """Aligns predictions with ground truths; a truth's own score scales the soft target.

    Args:
        scores_bac: predicted scores after the sigmoid.
        boxes_ba4: predicted boxes xyxy, pixels.
        points_a2: anchor points x, y, pixels.
    """
    iou_bga = pairwise_iou(targets.boxes_bg4, boxes_ba4)
    index = targets.classes_bg[:, None, :].expand(-1, scores_bac.shape[1], -1)
    class_score_bga = scores_bac.gather(2, index).transpose(1, 2)
    metric_bga = class_score_bga.pow(config.alpha) * iou_bga.pow(config.beta)
    inside_bga = _inside(points_a2, targets.boxes_bg4) & targets.valid_bg[..., None]
    top_bga = _top(metric_bga * inside_bga, config.topk)
    positive_bga = _one_truth_each(top_bga & inside_bga, iou_bga)

    metric_bga = metric_bga * positive_bga
    best_metric_bg1 = metric_bga.amax(dim=-1, keepdim=True)
    best_iou_bg1 = (iou_bga * positive_bga).amax(dim=-1, keepdim=True)
    strength_ba = (metric_bga / (best_metric_bg1 + EPS) * best_iou_bg1).amax(dim=1)

    truth_ba = positive_bga.float().argmax(dim=1)
    positive_ba = positive_bga.any(dim=1)
    strength_ba = strength_ba * targets.scores_bg.gather(1, truth_ba)
    boxes = targets.boxes_bg4.gather(1, truth_ba[..., None].expand(-1, -1, 4))
    classes_ba = targets.classes_bg.gather(1, truth_ba)
    scores = torch.zeros_like(scores_bac)
    scores.scatter_(2, classes_ba[..., None], (strength_ba * positive_ba)[..., None])
    return Assignment(boxes, classes_ba, scores, positive_ba)


def pairwise_iou(a_bg4: Tensor, b_ba4: Tensor) -> Tensor:
    """IoU of every ground truth with every prediction of its image, (B, G, A)."""
    a, b = a_bg4[:, :, None], b_ba4[:, None]
    sides = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp_(
        0
    )
    overlap = sides[..., 0] * sides[..., 1]
    return overlap / (_area(a) + _area(b) - overlap + EPS)


def _area(boxes: Tensor) -> Tensor:
    sides = (boxes[..., 2:] - boxes[..., :2]).clamp(min=0)
    return sides[..., 0] * sides[..., 1]


def _inside(points_a2: Tensor, boxes_bg4: Tensor) -> Tensor:
    """Mask (B, G, A): whether the anchor point is strictly within the ground truth."""
    boxes = boxes_bg4[:, :, None]
    nearest = torch.cat([points_a2 - boxes[..., :2], boxes[..., 2:] - points_a2], -1).amin(-1)
    return nearest > EPS


def _top(metric_bga: Tensor, count: int) -> Tensor:
    """Marks the `count` largest along the last dimension."""
    indices = metric_bga.topk(min(count, metric_bga.shape[-1]), dim=-1).indices
    return torch.zeros_like(metric_bga, dtype=torch.bool).scatter_(-1, indices, True)


def _one_truth_each(candidate_bga: Tensor, iou_bga: Tensor) -> Tensor:
    """Gives a point wanted by several ground truths to the one of largest IoU (of all)."""
    contested_b1a = candidate_bga.sum(dim=1, keepdim=True) > 1
    nearest_b1a = iou_bga.argmax(dim=1, keepdim=True)
    nearest_bga = torch.zeros_like(candidate_bga).scatter_(1, nearest_b1a, True)
    return torch.where(contested_b1a, nearest_bga, candidate_bga)
