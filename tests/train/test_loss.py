"""Parts of the loss on hand-worked values; the whole against the original in nn/test_parity."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from detkit.config import LossConfig
from detkit.data.training.labels import Labels, certain
from detkit.train.assign import Assignment
from detkit.train.loss import (
    DetectionLoss,
    distribution_focal_loss,
    giou_loss,
    varifocal_loss,
)


def test_giou_of_known_pairs() -> None:
    boxes = torch.tensor([[0, 0, 2, 2], [0, 0, 1, 1.0]])
    targets = torch.tensor([[0, 0, 2, 2], [2, 0, 3, 1.0]])
    assert torch.allclose(giou_loss(boxes, targets), torch.tensor([0.0, 1 + 1 / 3]), atol=1e-6)


def test_distribution_focal_loss_is_least_at_the_wanted_distance() -> None:
    logits = torch.full((1, 4, 17), -20.0)
    logits[..., 3] = logits[..., 4] = 0.0  # expects 3.5
    wanted = torch.tensor([[3.5] * 4])
    assert torch.allclose(distribution_focal_loss(logits, wanted), torch.tensor([math.log(2)]))
    assert distribution_focal_loss(logits, wanted + 2) > 10


def test_a_distance_beyond_the_last_bin_is_clipped() -> None:
    logits = torch.zeros(1, 4, 17)
    loss = distribution_focal_loss(logits, torch.tensor([[40.0, -3.0, 16.0, 15.99]]))
    assert torch.allclose(loss, torch.tensor([math.log(17)]))


def test_images_without_boxes_train_the_background_only() -> None:
    loss = DetectionLoss(LossConfig(), (64, 64))
    logits = torch.zeros(2, 84, 3, requires_grad=True)
    distances = torch.zeros(2, 84, 68, requires_grad=True)
    parts = loss(logits, distances, certain(torch.zeros(0, 6)))
    parts.total.backward()
    assert parts.iou == parts.dfl == 0
    assert parts.cls > 0
    assert logits.grad is not None
    assert (logits.grad > 0).all()  # every score is pushed down


def test_scores_cost_what_their_formula_says() -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 84, 3, dtype=torch.float64, requires_grad=True)
    known = torch.rand(2, 84, 3) < 0.5
    weights = torch.tensor([1.0, 0.5, 2.0], dtype=torch.float64)
    points = torch.tensor([0, 0, 1]), torch.tensor([3, 80, 3]), torch.tensor([2, 0, 1])
    strength = torch.tensor([0.9, 0.2, 0.0], dtype=torch.float64)
    boxes = torch.zeros(3, 4)
    for mask in (None, known):
        found = varifocal_loss(logits, Assignment(*points, boxes, strength, mask), weights)
        targets = torch.zeros(2, 84, 3, dtype=torch.float64).index_put(points, strength)
        scale = 0.75 * logits.sigmoid() ** 2 * (1 if mask is None else mask)
        scale = scale.index_put(points, strength)
        entropy = binary_cross_entropy_with_logits(logits, targets, reduction="none")
        expected = (scale * entropy * weights).sum()
        assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=1e-6)
        (gradient,) = torch.autograd.grad(found, logits)
        reference = torch.autograd.grad(expected, logits)[0]
        torch.testing.assert_close(gradient, reference, rtol=1e-5, atol=1e-6)


def test_the_parts_add_up() -> None:
    torch.manual_seed(0)
    loss = DetectionLoss(LossConfig(), (64, 64))
    targets = torch.tensor([[0, 1, 8, 8, 40, 40], [1, 2, 0, 16, 64, 60.0]])
    parts = loss(torch.randn(2, 84, 3), torch.randn(2, 84, 68), certain(targets))
    assert torch.allclose(parts.total, parts.cls + parts.iou + parts.dfl)
    assert parts.dfl > 0


def test_what_labels_do_not_speak_of_is_not_punished() -> None:
    torch.manual_seed(0)
    loss = DetectionLoss(LossConfig(), (64, 64))
    boxes = torch.tensor([[0, 1, 8, 8, 24, 24.0], [1, 2, 0, 16, 64, 60.0]])
    sets = torch.zeros(2, 1, 8, 8, dtype=torch.int64)
    sets[0, :, :, :4] = 1  # the left half of the first image comes from a set with class 0 alone
    labels = Labels(
        boxes=boxes,
        scores=torch.ones(2),
        sets=sets,
        known=torch.tensor([[True, True, True], [True, False, False]]),
    )
    logits = torch.randn(2, 84, 3, requires_grad=True)
    distances = torch.randn(2, 84, 68)
    parts = loss(logits, distances, labels)
    parts.total.backward()
    assert logits.grad is not None
    points = loss.points * loss.strides
    left = points[:, 0] < 32
    found = loss.assign(logits, distances, labels)
    assigned = torch.zeros(84, dtype=torch.bool)
    assigned[found.anchor_p[(found.image_p == 0) & (found.strength_p > 0)]] = True
    assert assigned.any()
    assert (logits.grad[0, assigned, 1] != 0).all()  # a labelled object teaches all the same
    assert (logits.grad[0, left & ~assigned, 1] == 0).all()
    assert (logits.grad[0, left, 2] == 0).all()
    assert (logits.grad[0, :, 0] > 0).all()
    assert (logits.grad[0, ~left, 2] > 0).all()
    assert (logits.grad[1, :, 0] > 0).all()
