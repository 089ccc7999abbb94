"""How far a network's outputs are from its teacher's, and that distance as a loss.

Legend: B batch, A anchor points, C classes, K classes that both know, D = 4 * (reg_max + 1)
distance bins.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor
from torch.nn import functional as F

from detkit.nn.detector import Detector


def score_divergence(logits_bac: Tensor, teacher_bac: Tensor) -> Tensor:
    """Binary KL divergence from the teacher's class scores, element by element; 0 where equal."""
    scores = teacher_bac.sigmoid()
    entropy = functools.partial(F.binary_cross_entropy_with_logits, reduction="none")
    divergence: Tensor = entropy(logits_bac, scores) - entropy(teacher_bac, scores)
    return divergence


def distance_divergence(distances_bad: Tensor, teacher_bad: Tensor) -> Tensor:
    """KL divergence from the teacher's distributions, mean of the four sides, (B, A)."""
    sides = (*distances_bad.shape[:2], 4, distances_bad.shape[-1] // 4)
    log_p = distances_bad.reshape(sides).log_softmax(-1)
    log_q = teacher_bad.reshape(sides).log_softmax(-1)
    divergence: Tensor = (log_q.exp() * (log_q - log_p)).sum(-1).mean(-1)
    return divergence


class Distillation:
    """A teacher's outputs as a `step.AuxiliaryLoss`: KL of scores and of distance distributions.

    Both are divided by the sum of the teacher's best scores, as the detection loss is by its soft
    targets; anchor points in which the teacher sees nothing hardly count for distances.
    """

    def __init__(
        self,
        teacher: Detector,
        *,
        cls: float,
        box: float,
        classes: tuple[list[int], list[int]] | None = None,
    ) -> None:
        """Takes the teacher as it is, in evaluation mode and on the student's device.

        Args:
            cls, box: weights of the two parts.
            classes: indices (K,) of the student's classes and of the teacher's for the same thing;
                all, in the same order, where it is None.
        """
        self.teacher = teacher.requires_grad_(False)
        self.cls, self.box, self.classes = cls, box, classes

    def __call__(self, images: Tensor, logits: Tensor, distances: Tensor) -> Tensor:
        with torch.no_grad():
            teacher_logits, teacher_distances = self.teacher(images)
        if self.classes is not None:
            mine, theirs = self.classes
            logits, teacher_logits = logits[..., mine], teacher_logits[..., theirs]
        weight_ba = teacher_logits.sigmoid().amax(dim=-1)
        norm = weight_ba.sum().clamp(min=1)
        cls = score_divergence(logits, teacher_logits).sum() / norm
        box = (distance_divergence(distances, teacher_distances) * weight_ba).sum() / norm
        total: Tensor = self.cls * cls + self.box * box
        return total
