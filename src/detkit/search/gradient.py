"""Gradient descent on a distribution over points, for evaluators that can be differentiated.

As in DARTS (Liu et al., 2019) with the Gumbel-softmax samples of SNAS (Xie et al., 2019) and the
two paths a choice and the expected latency of ProxylessNAS (Cai et al., 2019): every knob has
logits, a sample mixes its two luckiest values, the objectives of the sample are differentiated by
the shares, the temperature falls. One descent for each trade-off between the objectives. What
comes out is made discrete and evaluated like any other point: the likeliest points first, then
samples around them.

A weighted sum of score and cost drives most descents to an end of the front, mostly to the cheapest
points. So a trade-off is a weighted maximum of the objectives (Chebyshev), each scaled from 0, the
best that was seen, to 1: a descent that only gets cheaper is held by its score.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from detkit.errors import UsageError
from detkit.search.goal import Goal
from detkit.search.grid import Floats, Grid, Rows
from detkit.search.policy import draw, knob_sums, probabilities, trade_offs
from detkit.search.searcher import History, Relaxation, Setup

NUM_DESCENTS = 8
STEPS = 100
RATE = 0.3
TEMPERATURES = (2.0, 0.2)  # of the first and the last step
RANGE_SAMPLES = 8  # points, beside both ends, that tell how far each objective extends
PATHS = 2  # values of a knob that a sample mixes
SHARPNESS = 0.1  # how soft the maximum of the objectives is
LIMIT_WEIGHT = 5.0  # of a limit passed by its whole bound
SPREAD = 0.5  # exponent of the probabilities that samples are drawn from
EXTRA = 4


class Gradient:
    """All descents at the first question; the answers are handed out from then on."""

    def __init__(self, setup: Setup) -> None:
        """Raises UsageError without a differentiable evaluator."""
        if setup.relaxation is None:
            raise UsageError(
                "the gradient searcher needs an evaluator that can be differentiated",
                hint="--evaluator supernet is one; other searchers work with every evaluator",
            )
        self.goal, self.seed, self.relaxation = setup.goal, setup.seed, setup.relaxation
        self.policies: Floats = np.empty((0, 0))

    def propose(self, history: History, count: int, rng: np.random.Generator) -> Rows:
        grid = history.grid
        if not len(self.policies):
            self.policies = descend(grid, self.goal, self.relaxation, self.seed)
        ends = np.cumsum(grid.counts)
        likeliest = [
            self.policies[:, e - c : e].argmax(1) for e, c in zip(ends, grid.counts, strict=True)
        ]
        softer = self.policies**SPREAD
        turns = rng.integers(0, len(softer), count * EXTRA)
        around = draw(grid, (softer / knob_sums(grid, softer))[turns], rng)
        return np.concatenate([np.stack(likeliest, axis=1), around])


def descend(grid: Grid, goal: Goal, relaxation: Relaxation, seed: int) -> Floats:
    """(P, E) probabilities that each of P trade-offs arrives at."""
    rng = np.random.default_rng(seed)
    ends = np.stack([np.zeros_like(grid.counts), grid.counts - 1])
    rows = np.concatenate([ends, grid.sample(RANGE_SAMPLES, rng)])
    seen = np.array([_judge(grid, goal, relaxation, row).losses_m for row in grid.one_hot(rows)])
    span = np.ptp(seen, axis=0)
    scale = np.where(span > 0, span, 1.0)

    def slope(shares_e: Floats, weights_m: Floats) -> Floats:
        """(E,) slope of the weighted maximum, and of limits where they are passed."""
        found = _judge(grid, goal, relaxation, shares_e)
        pulls = weights_m * (found.losses_m - seen.min(axis=0)) / scale / SHARPNESS
        share_m = np.exp(pulls - pulls.max())
        total: Floats = (share_m / share_m.sum() * weights_m / scale) @ found.slopes_me
        return total + LIMIT_WEIGHT * found.limits_e

    policies = [
        _descent(grid, functools.partial(slope, weights_m=weights), rng)
        for weights in trade_offs(len(goal.objectives), NUM_DESCENTS)
    ]
    return np.stack(policies)


@dataclass(frozen=True)
class _Judged:
    """A soft point: its losses, their slopes, and the slope of limits that it passes."""

    losses_m: Floats
    slopes_me: Floats
    limits_e: Floats


def _judge(grid: Grid, goal: Goal, relaxation: Relaxation, shares_e: Floats) -> _Judged:
    names = list(grid.values)
    parts = np.split(shares_e, np.cumsum(grid.counts)[:-1])
    told = relaxation(dict(zip(names, parts, strict=True)))
    slopes = {name: np.concatenate([told[name][1][knob] for knob in names]) for name in told}
    limits = np.zeros(len(shares_e))
    for name, (sense, bound) in goal.constraints.items():
        sign = 1.0 if sense == "<=" else -1.0
        if name in told and sign * (told[name][0] - bound) > 0:
            limits += sign * slopes[name] / (abs(bound) or 1.0)
    signs = np.array([-1.0] * len(goal.maximize) + [1.0] * len(goal.minimize))
    values = np.array([told[name][0] for name in goal.objectives])
    every = np.array([slopes[name] for name in goal.objectives])
    return _Judged(signs * values, signs[:, None] * every, limits)


def _descent(grid: Grid, slope_at: Callable[[Floats], Floats], rng: np.random.Generator) -> Floats:
    """(E,) probabilities after `STEPS` steps of Adam (Kingma and Ba, 2015) on soft samples."""
    logits = np.zeros(int(grid.counts.sum()))
    first, second = np.zeros_like(logits), np.zeros_like(logits)
    for step, temperature in enumerate(np.geomspace(*TEMPERATURES, STEPS), start=1):
        shares = two_paths(grid, logits + rng.gumbel(size=len(logits)), temperature)
        slope = slope_at(shares)
        inner = knob_sums(grid, (shares * slope)[None])[0]
        slope = shares * (slope - inner) / temperature
        first = 0.9 * first + 0.1 * slope
        second = 0.99 * second + 0.01 * slope**2
        scale = np.sqrt(second / (1 - 0.99**step)) + 1e-8
        logits = logits - RATE * first / (1 - 0.9**step) / scale
    found: Floats = probabilities(grid, logits[None])[0]
    return found


def two_paths(grid: Grid, logits_e: Floats, temperature: float) -> Floats:
    """(E,) shares of the `PATHS` largest logits of each knob; the others have none."""
    shares = []
    for part in np.split(logits_e, np.cumsum(grid.counts)[:-1]):
        chosen = np.argsort(-part)[:PATHS]
        weights = np.exp((part[chosen] - part.max()) / temperature)
        share = np.zeros(len(part))
        share[chosen] = weights / weights.sum()
        shares.append(share)
    return np.concatenate(shares)
