"""Parts of the loss on hand-worked values; the whole against the original in nn/test_parity."""

from __future__ import annotations

import math

import torch

from detkit.config import LossConfig
from detkit.data.training.labels import Labels, certain
from detkit.train.loss import DetectionLoss, distribution_focal_loss, giou_loss


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
    assigned = loss.assign(logits, distances, labels).scores_bac[0, :, 1] > 0
    assert assigned.any()
    assert (logits.grad[0, assigned, 1] != 0).all()  # a labelled object teaches all the same
    assert (logits.grad[0, left & ~assigned, 1] == 0).all()
    assert (logits.grad[0, left, 2] == 0).all()
    assert (logits.grad[0, :, 0] > 0).all()
    assert (logits.grad[0, ~left, 2] > 0).all()
    assert (logits.grad[1, :, 0] > 0).all()
