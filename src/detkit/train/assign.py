"""Task-aligned assignment: which anchor points answer for which ground truth, and how strongly.

Feng et al., TOOD, ICCV 2021, arXiv 2108.07755, in the form PPYoloE and YOLO-NAS train with. Few
points lie within a ground truth, so all but the masks is computed for those alone.

Legend: B batch, N ground truths of the batch, A anchor points, C classes, P positives.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from detkit.config import LossConfig
from detkit.data.training.labels import Labels

EPS = 1e-9


@dataclass(frozen=True)
class Assignment:
    """The anchor points that answer for a ground truth; all others are background.

    A point is positive at most once, in the order of images and points.
    """

    image_p: Tensor  # int64
    anchor_p: Tensor  # int64
    class_p: Tensor  # int64
    boxes_p4: Tensor  # xyxy pixels of the ground truth
    strength_p: Tensor  # the class score to predict, 0..1
    known_bac: Tensor | None = None  # bool, False where the labels do not speak of the class


@torch.no_grad()
def assign(
    logits_bac: Tensor, boxes_ba4: Tensor, points_a2: Tensor, labels: Labels, config: LossConfig
) -> Assignment:
    """Aligns predictions with ground truths; a truth's own score scales the soft target.

    Args:
        logits_bac: predicted scores before the sigmoid.
        boxes_ba4: predicted boxes xyxy, pixels.
        points_a2: anchor points x, y, pixels.
    """
    image_n, class_n = labels.boxes[:, :2].long().unbind(dim=-1)
    truth_n4 = labels.boxes[:, 2:]

    def iou_of(truth: Tensor, anchor: Tensor) -> Tensor:
        return paired_iou(truth_n4[truth], boxes_ba4[image_n[truth], anchor])

    def alignment_of(truth: Tensor, anchor: Tensor, iou: Tensor) -> Tensor:
        score = logits_bac[image_n[truth], anchor, class_n[truth]].float().sigmoid()
        return score.pow(config.alpha) * iou.pow(config.beta)

    inside_na = _inside(points_a2, truth_n4)
    truth, anchor = inside_na.nonzero(as_tuple=True)
    metric_na = torch.zeros_like(inside_na, dtype=torch.float32)
    metric_na[truth, anchor] = alignment_of(truth, anchor, iou_of(truth, anchor))
    candidate_na = _top(metric_na, config.topk) & inside_na

    contested_na = _contested(candidate_na, image_n, len(logits_bac))
    truth, anchor = contested_na.nonzero(as_tuple=True)
    point = image_n[truth] * len(points_a2) + anchor
    nearest = _nearest(point, truth, iou_of(truth, anchor), num_points=logits_bac[..., 0].numel())
    positive_na = candidate_na & ~contested_na
    positive_na[truth[nearest], anchor[nearest]] = True

    truth, anchor = positive_na.nonzero(as_tuple=True)
    order = torch.argsort(image_n[truth] * len(points_a2) + anchor)
    truth, anchor = truth[order], anchor[order]
    iou = iou_of(truth, anchor)
    metric = alignment_of(truth, anchor, iou)
    share = metric / (_largest_of(metric, truth, len(truth_n4)) + EPS)
    strength = share * _largest_of(iou, truth, len(truth_n4)) * labels.scores[truth]
    return Assignment(image_n[truth], anchor, class_n[truth], truth_n4[truth], strength)


def paired_iou(a_p4: Tensor, b_p4: Tensor) -> Tensor:
    """IoU (P,) of each box with its partner."""
    sides = torch.minimum(a_p4[:, 2:], b_p4[:, 2:]) - torch.maximum(a_p4[:, :2], b_p4[:, :2])
    overlap = sides.clamp(min=0).prod(-1)
    return overlap / (_area(a_p4) + _area(b_p4) - overlap + EPS)


def _area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(-1)


def _inside(points_a2: Tensor, boxes_n4: Tensor) -> Tensor:
    """Mask (N, A): whether the anchor point is strictly within the ground truth."""
    x, y = points_a2.unbind(dim=-1)
    x1, y1, x2, y2 = boxes_n4[..., None].unbind(dim=1)
    return (x - x1 > EPS) & (y - y1 > EPS) & (x2 - x > EPS) & (y2 - y > EPS)


def _top(metric_na: Tensor, count: int) -> Tensor:
    """Marks the `count` largest along the last dimension."""
    indices = metric_na.topk(min(count, metric_na.shape[-1]), dim=-1).indices
    return torch.zeros_like(metric_na, dtype=torch.bool).scatter_(-1, indices, True)


def _contested(candidate_na: Tensor, image_n: Tensor, batch: int) -> Tensor:
    """Marks, for all truths of an image (N, A), the points that several of them want."""
    wanted_ba = torch.zeros(
        (batch, candidate_na.shape[1]), dtype=torch.int32, device=image_n.device
    )
    wanted_ba.index_add_(0, image_n, candidate_na.int())
    return (wanted_ba > 1)[image_n]


def _nearest(point_k: Tensor, truth_k: Tensor, iou_k: Tensor, *, num_points: int) -> Tensor:
    """Marks, of all pairs (K,) of a point, that of largest IoU, of equal ones the first truth.

    So a contested point goes to the nearest ground truth, whether a candidate or not.
    """
    is_largest = iou_k == _largest_of(iou_k, point_k, num_points)
    first = truth_k.new_full((num_points,), torch.iinfo(truth_k.dtype).max)
    first.scatter_reduce_(0, point_k[is_largest], truth_k[is_largest], "amin")
    return is_largest & (truth_k == first[point_k])


def _largest_of(values_p: Tensor, group_p: Tensor, groups: int) -> Tensor:
    """The largest value of each one's group (P,), 0 at least."""
    largest = values_p.new_zeros(groups).scatter_reduce(0, group_p, values_p, "amax")
    return largest[group_p]
