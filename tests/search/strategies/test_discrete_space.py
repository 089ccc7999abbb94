from __future__ import annotations

import numpy as np
import pytest

from detkit.search.strategies.discrete_space import DiscreteSpace
from fixtures.small_space import KNOBS

SPACE = DiscreteSpace(KNOBS)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_rows_and_points_are_the_same_thing(rng: np.random.Generator) -> None:
    for row in SPACE.sample(30, rng):
        assert SPACE.to_row(SPACE.to_point(row)) == tuple(row)


def test_counting_visits_every_point_once_from_anywhere() -> None:
    rows = list(SPACE.rows_from(77))
    assert len(set(rows)) == len(rows) == SPACE.size
    assert rows[SPACE.size - 77] == (0,) * len(KNOBS)


def test_latin_hypercube_uses_every_value_about_equally(rng: np.random.Generator) -> None:
    rows = SPACE.latin(40, rng)
    for column, count in zip(rows.T, SPACE.counts, strict=True):
        times = np.bincount(column, minlength=count)
        assert times.min() >= 40 // count - 1
        assert times.max() <= -(-40 // count) + 1


def test_mutation_changes_one_knob_mostly_by_one_step(rng: np.random.Generator) -> None:
    before = SPACE.sample(2000, rng)
    after = SPACE.mutate(before, rng)
    assert ((before != after).sum(axis=1) == 1).all()
    assert (after >= 0).all()
    assert (after < SPACE.counts).all()
    ordinal = (before != after)[:, 1]  # five widths: a step, or any of the others
    steps = np.abs(after - before)[ordinal, 1]
    assert 0.75 < (steps == 1).mean() < 0.9


def test_mutation_of_a_point_without_choice_is_itself(rng: np.random.Generator) -> None:
    space = DiscreteSpace({"a": (1,), "b": (2,)})
    assert space.mutate(space.sample(3, rng), rng).tolist() == [[0, 0]] * 3


def test_child_has_every_knob_of_a_parent(rng: np.random.Generator) -> None:
    a, b = SPACE.sample(50, rng), SPACE.sample(50, rng)
    child = SPACE.cross(a, b, rng)
    assert ((child == a) | (child == b)).all()


def test_one_hot_has_a_one_for_each_knob(rng: np.random.Generator) -> None:
    rows = SPACE.sample(20, rng)
    encoded = SPACE.one_hot(rows)
    assert encoded.shape == (20, SPACE.counts.sum())
    assert (encoded.sum(axis=1) == len(KNOBS)).all()
    assert len(np.unique(encoded, axis=0)) == len(np.unique(rows, axis=0))
