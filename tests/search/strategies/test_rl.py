"""What policies learn, and which trade-offs they are given."""

from __future__ import annotations

import numpy as np
import pytest

from detkit.search.strategies.discrete_space import DiscreteSpace
from detkit.search.strategies.rl import NUM_POLICIES, learn, random_trade_offs
from detkit.search.strategies.searcher import History


def test_trade_offs_of_two_losses_leave_no_part_of_the_front_out() -> None:
    weights = random_trade_offs(2, np.random.default_rng(0))
    assert weights.sum(axis=1) == pytest.approx(1)
    assert (np.floor(weights[:, 0] * NUM_POLICIES) == np.arange(NUM_POLICIES)).all()


@pytest.mark.parametrize("num_losses", [1, 3])
def test_trade_offs_of_other_numbers_of_losses_are_shares(num_losses: int) -> None:
    weights = random_trade_offs(num_losses, np.random.default_rng(0))
    assert weights.shape == (NUM_POLICIES, num_losses)
    assert weights.min() >= 0
    assert weights.sum(axis=1) == pytest.approx(1)


def test_policies_come_to_prefer_what_their_trade_off_rewards() -> None:
    space = DiscreteSpace({"a": range(3), "b": range(3)})
    rows = space.sample(400, np.random.default_rng(0))
    losses = np.stack([-rows.sum(axis=1), rows.sum(axis=1)], axis=1).astype(float)
    history = History(space=space, rows_nk=rows, losses_nm=losses, violations_n=np.zeros(400))
    large, small = learn(history, np.array([[1.0, 0.0], [0.0, 1.0]]))
    for shares, best in ((large, 2), (small, 0)):
        assert shares[:3].sum() == pytest.approx(1)
        assert shares[best] > 0.8
        assert shares[3 + best] > 0.8
