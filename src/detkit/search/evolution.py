"""NSGA-II with the whole history as its archive.

Deb et al., IEEE Trans. Evol. Comp. 2002: survival by (rank, crowding), binary tournaments, uniform
crossover. Mutation is ours: mostly single steps along ordered values. Feasible points come first.
"""

from __future__ import annotations

import numpy as np

from detkit.search.grid import Floats, Grid, Rows
from detkit.search.pareto import crowding, ranks
from detkit.search.searcher import History, Setup

POPULATION = 16
CROSSED = 0.6  # share of children with two parents
EXTRA = 2  # children a point asked for, as many will have been seen


class Evolution:
    """(mu + lambda) evolution; the first `POPULATION` points are a Latin hypercube."""

    def __init__(self, setup: Setup) -> None:
        self.seed = setup.seed

    def propose(self, history: History, count: int, rng: np.random.Generator) -> Rows:
        grid = history.grid
        if len(history) < POPULATION:
            return grid.latin(POPULATION, np.random.default_rng(self.seed))
        usable = history.usable
        rows = history.rows_nk[usable]
        if not len(rows):
            return grid.sample(count, rng)
        best = survivors(history.scaled_nm[usable], history.violations_n[usable], POPULATION)
        return breed(grid, rows[best], count * EXTRA, rng)


def survivors(losses_nm: Floats, violations_n: Floats, count: int) -> Rows:
    """Indices of the best `count` points, the best first: by rank, then the less crowded first."""
    ranked = ranks(losses_nm, violations_n, enough=count)
    spread = np.zeros(len(ranked))
    for rank in np.unique(np.sort(ranked)[:count]):
        members = np.flatnonzero(ranked == rank)
        spread[members] = crowding(losses_nm[members])
    order: Rows = np.lexsort((-spread, ranked))[:count]
    return order


def breed(grid: Grid, parents: Rows, count: int, rng: np.random.Generator) -> Rows:
    """`count` children of parents sorted best first: tournaments, crossover, mutation."""
    first, second = rng.integers(0, len(parents), (2, count, 2)).min(axis=2)  # lower is better
    crossed = grid.cross(parents[first], parents[second], rng)
    both = rng.random(count) < CROSSED
    return grid.mutate(np.where(both[:, None], crossed, parents[first]), rng)
