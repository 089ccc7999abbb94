"""How far a network is from its teacher, in outputs or in features, and that distance as a loss.

Legend: B batch, A anchor points, C classes, K classes that both know, D = 4 * (reg_max + 1)
distance bins, N positions of a map over the batch, S and T channels of student and teacher.
"""

from __future__ import annotations

import functools

import torch
from torch import Tensor
from torch.nn import functional as F

from detkit.nn.detector import Detector, RawOutputs
from detkit.train.ranks import normalizer

RIDGE = 1e-2  # of the variance of a channel: keeps the map of features finite
LEAST_DEVIATION = 1e-4  # of a channel; one that is flatter says nothing


def score_divergence(logits_bac: Tensor, teacher_bac: Tensor) -> Tensor:
    """Binary KL divergence from the teacher's class scores, element by element; 0 where equal."""
    scores = teacher_bac.sigmoid()
    entropy = functools.partial(F.binary_cross_entropy_with_logits, reduction="none")
    divergence: Tensor = entropy(logits_bac, scores) - entropy(teacher_bac, scores)
    return divergence


def distance_divergence(distances: Tensor, teacher: Tensor) -> Tensor:
    """KL divergence (...) from the teacher's distributions (..., D), mean of the four sides."""
    log_p, log_q = (
        logits.reshape(*logits.shape[:-1], 4, logits.shape[-1] // 4).log_softmax(-1)
        for logits in (distances, teacher)
    )
    divergence: Tensor = (log_q.exp() * (log_q - log_p)).sum(-1).mean(-1)
    return divergence


def unexplained_variance(student_ns: Tensor, teacher_nt: Tensor) -> Tensor:
    """The share of the teacher's variance that no linear map of the student's features gives.

    Mean over the teacher's channels, each counted alike; 0 where the student's features say all
    that the teacher's do, in any basis, 1 where they say nothing. The best map is solved for on
    the batch (ridge regression), so it has no weights to be trained and saved; as it is the best,
    no gradient is lost by holding it fixed.
    """
    x = _standardized(student_ns.float())
    with torch.no_grad():
        y = _standardized(teacher_nt.float())
        gram = x.T @ x / len(x)
        gram.diagonal().add_(RIDGE)
        best_map = torch.linalg.solve(gram, x.T @ y / len(x))
    share: Tensor = (y - x @ best_map).square().mean()
    return share


def _standardized(features: Tensor) -> Tensor:
    """Each channel less its mean, over its standard deviation (held fixed)."""
    centred = features - features.mean(dim=0)
    return centred / centred.detach().std(dim=0).clamp(min=LEAST_DEVIATION)


class Distillation:
    """A teacher's outputs and features as a `step.AuxiliaryLoss`.

    Outputs by the KL of scores and of distance distributions, which ask for a teacher of the
    student's form. Both are divided by the sum of the teacher's best scores, as the detection loss
    is by its soft targets; anchor points in which the teacher sees nothing hardly count for
    distances. Features by what the student's do not explain of them, summed over the levels of the
    neck, of a teacher of any family, width and set of classes.
    """

    def __init__(
        self,
        teacher: Detector,
        *,
        cls: float = 0.0,
        box: float = 0.0,
        features: float = 0.0,
        classes: tuple[list[int], list[int]] | None = None,
        half: torch.dtype | None = None,
    ) -> None:
        """Takes the teacher as it is, in evaluation mode and on the student's device.

        Args:
            cls, box, features: weights of the three parts.
            classes: indices (K,) of the student's classes and of the teacher's for the same thing;
                all, in the same order, where it is None.
            half: the type that the teacher runs in by mixed precision, if it does.
        """
        self.teacher = teacher.requires_grad_(False)
        self.cls, self.box, self.features = cls, box, features
        self.classes, self.half = classes, half

    def __call__(self, images: Tensor, outputs: RawOutputs) -> Tensor:
        with (
            torch.no_grad(),
            torch.autocast(images.device.type, self.half, enabled=self.half is not None),
        ):
            said = self.teacher.outputs(images)
        loss = images.new_zeros(())
        if self.cls or self.box:
            loss = loss + self._of_outputs(outputs, said)
        if self.features:
            loss = loss + self.features * self._of_features(outputs, said)
        return loss

    def _of_outputs(self, outputs: RawOutputs, said: RawOutputs) -> Tensor:
        logits, teacher_logits = outputs.logits.float(), said.logits.float()
        if self.classes is not None:
            mine, theirs = self.classes
            logits, teacher_logits = logits[..., mine], teacher_logits[..., theirs]
        weight_ba = teacher_logits.sigmoid().amax(dim=-1)
        norm = normalizer(weight_ba.sum())
        cls = score_divergence(logits, teacher_logits).sum() / norm
        distances = distance_divergence(outputs.distances.float(), said.distances.float())
        total: Tensor = self.cls * cls + self.box * (distances * weight_ba).sum() / norm
        return total

    def _of_features(self, outputs: RawOutputs, said: RawOutputs) -> Tensor:
        levels = zip(outputs.features, said.features, strict=True)
        return torch.stack(
            [unexplained_variance(_positions(mine), _positions(its)) for mine, its in levels]
        ).sum()


def _positions(maps: Tensor) -> Tensor:
    """Maps (B, channels, H, W) as (B * H * W, channels)."""
    return maps.permute(0, 2, 3, 1).flatten(0, 2)
