from __future__ import annotations

import json

import numpy as np
import pytest

from detkit.search.scoring.additive import design, fit_table, measured
from detkit.search.strategies.discrete_space import DiscreteSpace

SPACE = DiscreteSpace({"depth": (1, 2, 3), "width": (8, 16, 32), "size": (64, 128)})


def cost(row):
    """Widths and sizes multiply."""
    depth, width, size = (values[i] for values, i in zip(SPACE.values.values(), row, strict=True))
    return 1e-4 * depth**0.8 * width**1.2 * size**1.5


def mixture(row):
    parts = np.split(SPACE.one_hot(np.array([row]))[0], np.cumsum(SPACE.counts)[:-1])
    return dict(zip(SPACE.values, parts, strict=True))


@pytest.fixture
def table():
    rows = design(SPACE, 16, seed=0)
    return fit_table(SPACE, rows, np.array([cost(row) for row in rows]))


def test_cost_of_networks_that_were_not_measured_is_predicted(table):
    for row in SPACE.rows_from(0):
        assert table.expected(mixture(row))[0] == pytest.approx(cost(row), rel=0.05)


def test_slopes_are_those_of_the_expected_cost(table):
    rng = np.random.default_rng(0)
    soft = {knob: rng.dirichlet(np.ones(len(values))) for knob, values in SPACE.values.items()}
    _, slopes = table.expected(soft)
    step = {knob: rng.normal(size=len(part)) * 1e-6 for knob, part in soft.items()}
    ends = [table.expected({k: soft[k] + s * step[k] for k in soft})[0] for s in (-1, 1)]
    assert (ends[1] - ends[0]) / 2 == pytest.approx(sum(slopes[k] @ step[k] for k in soft), 1e-4)


def test_design_has_both_ends():
    rows = design(SPACE, 8, seed=1).tolist()
    assert [0, 0, 0] in rows
    assert [2, 2, 1] in rows


def test_what_was_measured_is_not_measured_again(tmp_path):
    path, taken = tmp_path / "costs.json", []

    def measure(row):
        if len(taken) == 3:
            raise KeyboardInterrupt
        taken.append(row)
        return {"ms": cost(row)}

    rows = design(SPACE, 6, seed=0)
    with pytest.raises(KeyboardInterrupt):
        measured(path, rows, measure)
    assert len(json.loads(path.read_text())) == 3
    found = measured(path, rows, lambda row: taken.append(row) or {"ms": cost(row)})
    assert len(taken) == len(rows)
    assert found["ms"].tolist() == [cost(row) for row in rows.tolist()]
