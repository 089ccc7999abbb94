from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from detkit.train.distill import distance_divergence, score_divergence


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
