"""Factorised policies: every knob has its own probabilities over its values.

Legend: N rows, P policies, K knobs, E values of all knobs, M losses.
"""

from __future__ import annotations

import itertools

import numpy as np

from detkit.search.strategies.discrete_space import DiscreteSpace, Floats, Rows

MAX_LOGIT = 6.0


def trade_offs(num_losses: int, count: int) -> Floats:
    """Weights (P, M) that sum to 1, evenly over the simplex; one objective has one."""
    if num_losses == 1:
        return np.ones((1, 1))
    steps = count - 1 if num_losses == 2 else 3
    corners = itertools.product(range(steps + 1), repeat=num_losses)
    return np.array([c for c in corners if sum(c) == steps], np.float64) / steps


def knob_sums(space: DiscreteSpace, values_pe: Floats) -> Floats:
    """Sums (P, E) over the values of a knob, repeated at each of them."""
    starts = np.concatenate([[0], np.cumsum(space.counts)[:-1]])
    return np.repeat(np.add.reduceat(values_pe, starts, axis=1), space.counts, axis=1)


def probabilities(space: DiscreteSpace, logits_pe: Floats) -> Floats:
    """Probabilities (P, E): a softmax over the values of each knob."""
    exponentials = np.exp(np.clip(logits_pe, -MAX_LOGIT, MAX_LOGIT))
    return exponentials / knob_sums(space, exponentials)


def draw(space: DiscreteSpace, policies_ne: Floats, rng: np.random.Generator) -> Rows:
    """Draws rows (N, K), one from each of N policies."""
    ends = np.cumsum(space.counts)
    rows = []
    for end, count in zip(ends, space.counts, strict=True):
        cumulative = np.cumsum(policies_ne[:, end - count : end], axis=1)
        levels = rng.random((len(policies_ne), 1)) * cumulative[:, -1:]
        rows.append(np.minimum((levels > cumulative).sum(axis=1), count - 1))
    return np.stack(rows, axis=1)
