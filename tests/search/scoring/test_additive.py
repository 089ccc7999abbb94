from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detkit.artifact.sealed_json import read_sealed
from detkit.core.content_digest import KEY
from detkit.search.scoring.additive import CostTable, design, fit_table, measured
from detkit.search.strategies.discrete_space import DiscreteSpace

SPACE = DiscreteSpace({"depth": (1, 2, 3), "width": (8, 16, 32), "size": (64, 128)})


def cost(row: Sequence[int]) -> float:
    """Widths and sizes multiply."""
    depth, width, size = (values[i] for values, i in zip(SPACE.values.values(), row, strict=True))
    return float(1e-4 * depth**0.8 * width**1.2 * size**1.5)


def mixture(row: Sequence[int]) -> dict[str, Any]:
    parts = np.split(SPACE.one_hot(np.array([row]))[0], np.cumsum(SPACE.counts)[:-1])
    return dict(zip(SPACE.values, parts, strict=True))


@pytest.fixture
def table() -> CostTable:
    rows = design(SPACE, 16, seed=0)
    return fit_table(SPACE, rows, np.array([cost(row) for row in rows]))


def test_cost_of_networks_that_were_not_measured_is_predicted(table: CostTable) -> None:
    for row in SPACE.rows_from(0):
        assert table.expected(mixture(row))[0] == pytest.approx(cost(row), rel=0.05)


def test_slopes_are_those_of_the_expected_cost(table: CostTable) -> None:
    rng = np.random.default_rng(0)
    soft = {knob: rng.dirichlet(np.ones(len(values))) for knob, values in SPACE.values.items()}
    _, slopes = table.expected(soft)
    step = {knob: rng.normal(size=len(part)) * 1e-6 for knob, part in soft.items()}
    ends = [table.expected({k: soft[k] + s * step[k] for k in soft})[0] for s in (-1, 1)]
    assert (ends[1] - ends[0]) / 2 == pytest.approx(sum(slopes[k] @ step[k] for k in soft), 1e-4)


def test_design_has_both_ends() -> None:
    rows = design(SPACE, 8, seed=1).tolist()
    assert [0, 0, 0] in rows
    assert [2, 2, 1] in rows


def test_what_was_measured_is_not_measured_again(tmp_path: Path) -> None:
    path = tmp_path / "costs.json"
    taken: list[Sequence[int]] = []

    def measure(row: Sequence[int]) -> dict[str, float]:
        taken.append(row)
        return {"ms": cost(row)}

    def measure_three(row: Sequence[int]) -> dict[str, float]:
        if len(taken) == 3:
            raise KeyboardInterrupt
        return measure(row)

    rows = design(SPACE, 6, seed=0)
    with pytest.raises(KeyboardInterrupt):
        measured(path, rows, measure_three)
    assert len(read_sealed(path).keys() - {KEY}) == 3
    found = measured(path, rows, measure)
    assert len(taken) == len(rows)
    assert found["ms"].tolist() == [cost(row) for row in rows.tolist()]
