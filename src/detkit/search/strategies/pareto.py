"""Domination among points whose losses are all minimised: fronts, ranks, crowding.

Legend: N points, M losses.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from detkit.search.strategies.discrete_space import Floats

Flags = npt.NDArray[np.bool_]
CHUNK = 512  # rows compared with all others at a time


def nondominated(losses_nm: Floats) -> Flags:
    """Marks (N,) the points that no other beats: as good in every loss and better in one.

    >>> nondominated(np.array([[1.0, 2.0], [2.0, 1.0], [2.0, 2.0]])).tolist()
    [True, True, False]
    """
    if losses_nm.shape[1] == 2 and len(losses_nm):
        return _nondominated_2d(losses_nm)
    keep = np.ones(len(losses_nm), bool)
    for start in range(0, len(losses_nm), CHUNK):
        some = losses_nm[start : start + CHUNK, None]
        not_worse = (losses_nm[None] <= some).all(2)
        better = (losses_nm[None] < some).any(2)
        keep[start : start + CHUNK] = ~np.any(not_worse & better, axis=1)
    return keep


def _nondominated_2d(losses_n2: Floats) -> Flags:
    """Finds them by sorting: with the first loss ascending, the second must be a new minimum."""
    order = np.lexsort((losses_n2[:, 1], losses_n2[:, 0]))
    first, second = losses_n2[order].T
    best_before = np.minimum.accumulate(np.concatenate([[np.inf], second[:-1]]))
    same = np.concatenate([[False], (np.diff(first) == 0) & (np.diff(second) == 0)])
    on_front = second < best_before
    for at in np.flatnonzero(same):  # equal points stand or fall together
        on_front[at] = on_front[at - 1]
    keep = np.zeros(len(losses_n2), bool)
    keep[order] = on_front
    return keep


def ranks(losses_nm: Floats, violations_n: Floats, *, enough: int) -> npt.NDArray[np.int64]:
    """Ranks (N,): 0 for the front, 1 for the front without it, and so on; feasible points first.

    Infeasible points follow in the order of their violation. Once `enough` points have a rank, all
    others share the next one.
    """
    ranked = np.full(len(losses_nm), -1, np.int64)
    left, rank = np.flatnonzero(violations_n <= 0), 0
    while len(left) and (ranked >= 0).sum() < enough:
        front = nondominated(losses_nm[left])
        ranked[left[front]] = rank
        left, rank = left[~front], rank + 1
    ranked[left] = rank
    infeasible = np.flatnonzero(violations_n > 0)
    by_violation = np.unique(violations_n[infeasible], return_inverse=True)[1]
    ranked[infeasible] = rank + 1 + by_violation
    return ranked


def crowding(losses_nm: Floats) -> Floats:
    """How far apart (N,) the neighbours of a point are on either side, summed over the losses.

    Deb et al., NSGA-II, 2002; the ends of a loss are infinitely far.
    """
    distances = np.zeros(len(losses_nm))
    for column in losses_nm.T:
        order = np.argsort(column, kind="stable")
        sorted_column = column[order]
        span = sorted_column[-1] - sorted_column[0]
        distances[order[[0, -1]]] = np.inf
        if span > 0 and len(order) > 2:
            distances[order[1:-1]] += (sorted_column[2:] - sorted_column[:-2]) / span
    return distances
