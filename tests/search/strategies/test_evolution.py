"""Which parents are put together, and what their children are."""

from __future__ import annotations

import numpy as np
import pytest

from detkit.search.strategies.discrete_space import DiscreteSpace
from detkit.search.strategies.evolution import MATES, breed, mates

SPACE = DiscreteSpace({f"k{i}": range(7) for i in range(6)})


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_mates_are_the_nearest_others_whatever_the_units(rng: np.random.Generator) -> None:
    along = np.arange(12.0)
    losses = np.stack([along, -1000 * along], axis=1)
    first = rng.integers(0, 12, 500)
    apart = np.abs(mates(losses, first, rng) - first)
    assert apart.min() == 1
    assert apart[(first > 1) & (first < 10)].max() == MATES // 2
    assert apart.max() == MATES  # at the ends of the front all neighbours lie on one side


def test_child_is_crossed_or_mutated_and_not_both(rng: np.random.Generator) -> None:
    parents = np.array([[0] * 6, [6] * 6])  # a step away from 0 or 6 is neither
    children = breed(SPACE, parents, np.array([[0.0, 1], [1, 0]]), 400, rng)
    foreign = np.minimum(children % 6, 1).sum(axis=1)
    mixed = (children == 0).any(axis=1) & (children == 6).any(axis=1)
    assert foreign.max() == 1
    assert not (mixed & (foreign == 1)).any()
    assert 0.5 < (foreign == 0).mean() < 0.8


def test_the_only_parent_has_children(rng: np.random.Generator) -> None:
    children = breed(SPACE, np.array([[3] * 6]), np.zeros((1, 2)), 50, rng)
    assert ((children != 3).sum(axis=1) <= 1).all()
