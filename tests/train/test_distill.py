"""How far a network is from its teacher: nothing where they say the same, all where they do not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from detkit.nn.checkpoint import new_detector
from detkit.spec.zoo import ZOO, with_task
from detkit.train.distill import (
    Distillation,
    distance_divergence,
    score_divergence,
    unexplained_variance,
)

# --- outputs --------------------------------------------------------------------------------------


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return 3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_score_divergence_is_zero_where_equal_and_positive_elsewhere() -> None:
    logits, others = drawn(2, 5, 3), drawn(2, 5, 3, seed=1)
    assert score_divergence(logits, logits).abs().max() < 1e-6
    assert (score_divergence(logits, others) > 0).all()


def test_score_divergence_by_hand() -> None:
    found = score_divergence(torch.tensor([[[0.0]]]), torch.tensor([[[np.log(3.0)]]]))
    wanted = 0.75 * np.log(0.75 / 0.5) + 0.25 * np.log(0.25 / 0.5)
    assert float(found) == pytest.approx(wanted)


def test_distance_divergence_is_zero_where_equal_and_positive_elsewhere() -> None:
    distances, others = drawn(2, 5, 4 * 17), drawn(2, 5, 4 * 17, seed=1)
    assert distance_divergence(distances, distances).shape == (2, 5)
    assert distance_divergence(distances, distances).abs().max() < 1e-6
    assert (distance_divergence(distances, others) > 0).all()


def test_distance_divergence_does_not_see_an_offset_and_averages_the_sides() -> None:
    distances = drawn(1, 3, 4 * 17)
    assert distance_divergence(distances + 5, distances).abs().max() < 1e-5
    one_side = distances.clone()
    one_side[..., :17] = drawn(1, 3, 17, seed=1)
    p, q = (x[..., :17].log_softmax(-1) for x in (one_side, distances))
    wanted = (q.exp() * (q - p)).sum(-1) / 4
    assert torch.allclose(distance_divergence(one_side, distances), wanted, atol=1e-5)


# --- features -------------------------------------------------------------------------------------


@pytest.fixture
def features() -> torch.Tensor:
    """(2000, 6), channels of different size and mean."""
    generator = torch.Generator().manual_seed(0)
    scale = torch.tensor([0.01, 1.0, 3.0, 10.0, 100.0, 1.0])
    return torch.randn(2000, 6, generator=generator) * scale + 5


def test_features_in_another_basis_say_the_same(features: torch.Tensor) -> None:
    basis = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(1)))[0]
    turned = features / features.std(dim=0) @ basis * 20 - 3
    assert float(unexplained_variance(turned, features)) < 0.03
    assert float(unexplained_variance(features, turned)) < 0.03


def test_what_is_missing_counts_by_channels_not_by_their_size(features: torch.Tensor) -> None:
    for kept in ([0, 1, 2], [3, 4, 5]):
        share = float(unexplained_variance(features[:, kept], features))
        assert share == pytest.approx(0.5, abs=0.02)
    unrelated = torch.randn(2000, 4, generator=torch.Generator().manual_seed(2))
    assert float(unexplained_variance(unrelated, features)) == pytest.approx(1, abs=0.02)


def test_a_dead_channel_is_neither_a_fault_nor_a_gain(features: torch.Tensor) -> None:
    dead = torch.cat([features, torch.full((2000, 2), 7.0)], dim=1)
    assert float(unexplained_variance(dead, features)) < 0.03
    assert float(unexplained_variance(features, dead)) < 0.03


def test_features_are_learned_by_descent(features: torch.Tensor) -> None:
    inputs = (features - features.mean(dim=0)) / features.std(dim=0)
    weight = torch.randn(6, 4, generator=torch.Generator().manual_seed(3)).requires_grad_()
    shares = []
    for _ in range(60):  # of six channels, four can be had in a linear map, fewer through a ReLU
        share = unexplained_variance(torch.relu(inputs @ weight), features)
        (gradient,) = torch.autograd.grad(share, weight)
        weight = (weight - 0.2 * gradient / gradient.norm()).detach().requires_grad_()
        shares.append(float(share.detach()))
    assert shares[-1] < shares[0] - 0.05


def test_the_weight_of_features_scales_their_loss_and_spares_the_teacher() -> None:
    teacher = new_detector(with_task(ZOO["yolox-nano"], 3, (64, 64)), 0).eval()
    student = new_detector(with_task(ZOO["yolo-nas-p"], 2, (64, 64)), 1).eval()
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(4))
    outputs = student.outputs(images)
    once, twice = (Distillation(teacher, features=w)(images, outputs) for w in (1.0, 2.0))
    assert float(twice.detach()) == pytest.approx(2 * float(once.detach()), rel=1e-5)
    once.backward()
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert float(Distillation(student, features=1.0)(images, outputs).detach()) < 0.2
