"""How far a network's outputs are from its teacher's.

Legend: B batch, A anchor points, C classes, D = 4 * (reg_max + 1) distance bins.
"""

from __future__ import annotations

import functools

from torch import Tensor
from torch.nn import functional as F


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
