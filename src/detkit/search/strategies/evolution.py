"""NSGA-II with the whole history as its archive.

Deb et al., IEEE Trans. Evol. Comp. 2002: survival by (rank, crowding), binary tournaments, uniform
crossover. Ours are the mutation, mostly single steps along ordered values, the choice of mates, and
that a child is mutated or crossed, not both. Feasible points come first.
"""

from __future__ import annotations

import numpy as np

from detkit.search.strategies.discrete_space import DiscreteSpace, Floats, Rows
from detkit.search.strategies.pareto import crowding, ranks
from detkit.search.strategies.searcher import History, StrategySetup

POPULATION = 16
CROSSED = 0.6  # share of children with two parents; the others are mutated
MATES = 4  # points nearest in the losses, one of which is the second parent
EXTRA = 2  # children a point asked for, as many will have been seen


class Evolution:
    """(mu + lambda) evolution; the first `POPULATION` points are a Latin hypercube."""

    def __init__(self, setup: StrategySetup) -> None:
        self.seed = setup.seed

    def propose(self, history: History, count: int, rng: np.random.Generator) -> Rows:
        space = history.space
        if len(history) < POPULATION:
            return space.latin(POPULATION, np.random.default_rng(self.seed))
        usable = history.usable
        rows = history.rows_nk[usable]
        if not len(rows):
            return space.sample(count, rng)
        losses = history.scaled_nm[usable]
        best = survivors(losses, history.violations_n[usable], POPULATION)
        return breed(space, rows[best], losses[best], count * EXTRA, rng)


def survivors(losses_nm: Floats, violations_n: Floats, count: int) -> Rows:
    """Indices of the best `count` points, the best first: by rank, then the less crowded first."""
    ranked = ranks(losses_nm, violations_n, enough=count)
    spread = np.zeros(len(ranked))
    for rank in np.unique(np.sort(ranked)[:count]):
        members = np.flatnonzero(ranked == rank)
        spread[members] = crowding(losses_nm[members])
    order: Rows = np.lexsort((-spread, ranked))[:count]
    return order


def breed(
    space: DiscreteSpace, parents: Rows, losses_nm: Floats, count: int, rng: np.random.Generator
) -> Rows:
    """Makes `count` children of parents sorted best first, each either crossed or mutated.

    A tournament chooses the first parent. The second lies near it on the front: a mixture of a
    small and a large network is mostly worse than either (mating restriction, Ishibuchi and
    Shibata, 2003).
    """
    first = rng.integers(0, len(parents), (count, 2)).min(axis=1)  # lower is better
    crossed = space.cross(parents[first], parents[mates(losses_nm, first, rng)], rng)
    mutated = space.mutate(parents[first], rng)
    return np.where(rng.random((count, 1)) < CROSSED, crossed, mutated)


def mates(losses_nm: Floats, first: Rows, rng: np.random.Generator) -> Rows:
    """Picks for each index in `first` one of the `MATES` others with the most similar losses."""
    scaled = losses_nm / (np.ptp(losses_nm, axis=0) + 1e-9)
    distances = np.linalg.norm(scaled[first, None] - scaled, axis=2)
    distances[np.arange(len(first)), first] = np.inf
    nearest: Rows = np.argsort(distances, axis=1, kind="stable")[:, :MATES]
    return nearest[np.arange(len(first)), rng.integers(0, nearest.shape[1], len(first))]
