"""Gradient descent on a distribution over points, for evaluators that can be differentiated.

As in DARTS (Liu et al., 2019) with the Gumbel-softmax samples of SNAS (Xie et al., 2019) and
ProxylessNAS' latency loss (Cai et al., 2019): every knob has logits, the objectives of a soft
sample are differentiated by its probabilities, the temperature falls. One descent for each
trade-off between the objectives. What comes out is made discrete and evaluated like any other
point: the likeliest points first, then samples around them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from detkit.errors import UsageError
from detkit.search.goal import Goal
from detkit.search.grid import Floats, Grid, Rows
from detkit.search.policy import draw, knob_sums, probabilities, trade_offs
from detkit.search.searcher import History, Relaxation, Setup

NUM_DESCENTS = 12
STEPS = 120
RATE = 0.3
TEMPERATURES = (2.0, 0.2)  # of the first and the last step
RANGE_SAMPLES = 16  # soft points that tell how far each objective extends
SPREAD = 0.5  # exponent of the probabilities that samples are drawn from
EXTRA = 4


class Gradient:
    """All descents at the first question; the answers are handed out from then on."""

    def __init__(self, setup: Setup) -> None:
        """Raises UsageError without a differentiable evaluator."""
        if setup.relaxation is None:
            raise UsageError(
                "the gradient searcher needs an evaluator that can be differentiated",
                hint="a supernet is one; any other searcher works with every evaluator",
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
    names, counts = list(grid.values), grid.counts
    signs = np.array([-1.0] * len(goal.maximize) + [1.0] * len(goal.minimize))

    def judge(shares: Floats) -> tuple[Floats, Floats]:
        """Losses (M,) of a soft point (E,) and their slopes (M, E)."""
        parts = np.split(shares, np.cumsum(counts)[:-1])
        told = relaxation(dict(zip(names, parts, strict=True)))
        values = np.array([told[name][0] for name in goal.objectives])
        slopes = [np.concatenate([told[n][1][knob] for knob in names]) for n in goal.objectives]
        return signs * values, signs[:, None] * np.array(slopes)

    soft = probabilities(grid, rng.normal(0, 3, (RANGE_SAMPLES, int(counts.sum()))))
    span = np.ptp([judge(shares)[0] for shares in soft], axis=0)
    weights = trade_offs(len(signs), NUM_DESCENTS) / np.where(span > 0, span, 1.0)
    return np.stack([_descent(grid, judge, weight, rng) for weight in weights])


def _descent(
    grid: Grid,
    judge: Callable[[Floats], tuple[Floats, Floats]],
    weights_m: Floats,
    rng: np.random.Generator,
) -> Floats:
    """(E,) probabilities after `STEPS` steps of Adam (Kingma and Ba, 2015) on soft samples."""
    logits = np.zeros(int(grid.counts.sum()))
    first, second = np.zeros_like(logits), np.zeros_like(logits)
    for step, temperature in enumerate(np.geomspace(*TEMPERATURES, STEPS), start=1):
        noise = rng.gumbel(size=len(logits))
        shares = probabilities(grid, ((logits + noise) / temperature)[None])[0]
        slope = weights_m @ judge(shares)[1]
        inner = knob_sums(grid, (shares * slope)[None])[0]
        slope = shares * (slope - inner) / temperature
        first = 0.9 * first + 0.1 * slope
        second = 0.99 * second + 0.01 * slope**2
        scale = np.sqrt(second / (1 - 0.99**step)) + 1e-8
        logits = logits - RATE * first / (1 - 0.9**step) / scale
    found: Floats = probabilities(grid, logits[None])[0]
    return found
