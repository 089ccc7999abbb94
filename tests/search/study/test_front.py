"""Domination, crowding and hypervolume against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest

from detkit.config import SearchConfig
from detkit.core.errors import UsageError
from detkit.search.strategies.hypervolume import hypervolume
from detkit.search.strategies.pareto import crowding, nondominated, ranks
from detkit.search.study.front import front_of, volume_of, volumes_of
from detkit.search.study.journal import CompletedTrial


def by_definition(losses: np.ndarray) -> list[bool]:
    return [
        not any((other <= loss).all() and (other < loss).any() for other in losses)
        for loss in losses
    ]


@pytest.mark.parametrize("num_losses", [1, 2, 3, 4])
@pytest.mark.parametrize("seed", range(4))
def test_nondominated_is_the_definition_with_ties_and_doubles(num_losses: int, seed: int) -> None:
    losses = np.random.default_rng(seed).integers(0, 6, (60, num_losses)).astype(float)
    assert nondominated(losses).tolist() == by_definition(losses)
    assert nondominated(losses[:0]).tolist() == []


def test_ranks_peel_fronts_and_put_the_infeasible_last_by_violation() -> None:
    losses = np.array([[0.0, 1], [1, 0], [1, 1], [2, 2], [0, 0], [0, 0]])
    violations = np.array([0.0, 0, 0, 0, 2, 1])
    assert ranks(losses, violations, enough=6).tolist() == [0, 0, 1, 2, 5, 4]
    assert ranks(losses, violations, enough=1).tolist()[:4] == [0, 0, 1, 1]


def test_crowding_is_infinite_at_the_ends_and_small_in_a_crowd() -> None:
    distances = crowding(np.array([[0.0, 4], [1, 3], [1.2, 2.9], [4, 0]]))
    assert np.isinf(distances[[0, 3]]).all()
    assert distances[1] < distances[2]
    assert crowding(np.zeros((3, 2))).tolist()[1] == 0


@pytest.mark.parametrize(
    ("losses", "reference", "volume"),
    [
        ([[1.0]], [3.0], 2.0),
        ([[1.0, 2.0]], [3.0, 3.0], 2.0),
        ([[0.0, 2.0], [2.0, 0.0]], [3.0, 3.0], 3 + 3 - 1),
        ([[0.0, 2.0], [0.0, 2.0], [1.0, 2.5]], [3.0, 3.0], 3.0),
        ([[3.0, 0.0], [4.0, -9.0]], [3.0, 3.0], 0.0),
        ([[0.0, 0.0, 0.0]], [1.0, 2.0, 3.0], 6.0),
        ([[0.0, 0.0, 1.0], [1.0, 1.0, 0.0]], [2.0, 2.0, 2.0], 4 + 2 - 1),
    ],
)
def test_hypervolume_by_hand(
    losses: list[list[float]], reference: list[float], volume: float
) -> None:
    assert hypervolume(np.array(losses), np.array(reference)) == pytest.approx(volume)


@pytest.mark.parametrize("num_losses", [2, 3])
def test_hypervolume_is_what_counting_cells_gives(num_losses: int) -> None:
    losses = np.random.default_rng(3).integers(0, 8, (12, num_losses)).astype(float)
    cells = np.indices((8,) * num_losses).reshape(num_losses, -1).T
    covered = sum(bool((losses <= cell).all(axis=1).any()) for cell in cells)
    assert hypervolume(losses, np.full(num_losses, 8.0)) == pytest.approx(covered)


def test_hypervolume_of_four_objectives_is_refused() -> None:
    with pytest.raises(UsageError, match="at most 3"):
        hypervolume(np.zeros((1, 4)), np.ones(4))


def test_hypervolume_over_the_trials_grows_to_that_of_the_front() -> None:
    config = SearchConfig(max_params=50.0)
    rng = np.random.default_rng(0)
    told = [
        CompletedTrial({}, {"score": score, "latency_ms": ms, "parameters": size})
        for score, ms, size in zip(
            [math.nan, *rng.random(30)], rng.uniform(1, 9, 31), rng.uniform(0, 60, 31), strict=True
        )
    ]
    volumes = volumes_of(config, told)
    assert volumes == sorted(volumes)
    assert volumes[0] == 0
    assert volumes[-1] == pytest.approx(volume_of(config, told, front_of(config, told)))
    over = next(i for i, trial in enumerate(told) if i and trial.figures["parameters"] > 50)
    assert volumes[over] == volumes[over - 1]
    assert volumes_of(config, told[:1]) == [0]
