"""Exact hypervolume: how much of the space below a reference point a set of losses dominates."""

from __future__ import annotations

import numpy as np

from detkit.core.errors import UsageError
from detkit.search.strategies.discrete_space import Floats

MAX_LOSSES = 3


def hypervolume(losses_nm: Floats, reference_m: Floats) -> float:
    """The volume between the points (N, M) and the reference (M,); M is 1, 2 or 3.

    Points that are not better than the reference in every loss add nothing.

    >>> hypervolume(np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([2.0, 2.0]))
    3.0

    Raises:
        UsageError: more than three losses.
    """
    if len(reference_m) > MAX_LOSSES:
        raise UsageError(f"hypervolume of {len(reference_m)} objectives: at most {MAX_LOSSES}")
    inside = losses_nm[(losses_nm < reference_m).all(axis=1)]
    if not len(inside):
        return 0.0
    if len(reference_m) == 1:
        return float(reference_m[0] - inside.min())
    if len(reference_m) == 2:
        return _area(inside, reference_m)
    return _volume(inside, reference_m)


def _area(points_n2: Floats, reference: Floats) -> float:
    """Adds up a staircase: with x ascending, each new minimum of y adds a rectangle."""
    x, y = points_n2[np.lexsort((points_n2[:, 1], points_n2[:, 0]))].T
    lowest = np.minimum.accumulate(y)
    widths = np.diff(np.concatenate([x, reference[:1]]))
    return float((widths * (reference[1] - lowest)).sum())


def _volume(points_n3: Floats, reference: Floats) -> float:
    """Adds up slices along the last loss, each with the area of the points that reach into it."""
    points = points_n3[np.argsort(points_n3[:, 2], kind="stable")]
    edges = np.concatenate([points[:, 2], reference[2:]])
    heights = np.diff(edges)
    return sum(
        _area(points[: i + 1, :2], reference[:2]) * float(height)
        for i, height in enumerate(heights)
        if height > 0
    )
