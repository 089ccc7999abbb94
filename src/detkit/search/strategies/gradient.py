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
from dataclasses import dataclass

import numpy as np

from detkit.core.errors import UsageError
from detkit.search.strategies.discrete_space import DiscreteSpace, Floats, Rows
from detkit.search.strategies.objectives import Objectives
from detkit.search.strategies.policy import draw, knob_sums, probabilities, trade_offs
from detkit.search.strategies.searcher import (
    ArrayCache,
    History,
    ProgressLog,
    Relaxation,
    StrategySetup,
    log_nothing,
    no_cache,
)

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
    """Runs all descents at the first call, and proposes points around their ends from then on."""

    def __init__(self, setup: StrategySetup) -> None:
        """Raises UsageError without a differentiable evaluator."""
        if setup.relaxation is None:
            raise UsageError(
                "the gradient searcher needs an evaluator that can be differentiated",
                hint="--evaluator supernet is one; other searchers work with every evaluator",
            )
        self.objectives, self.seed, self.relaxation = setup.objectives, setup.seed, setup.relaxation
        self.cache, self.log_progress = setup.cache, setup.log_progress
        self.policies: Floats = np.empty((0, 0))

    def propose(self, history: History, count: int, rng: np.random.Generator) -> Rows:
        space = history.space
        if not len(self.policies):
            slopes = ObjectiveGradients(space, self.objectives, self.relaxation, self.seed)
            self.policies = descend(slopes, self.cache, self.log_progress)
        ends = np.cumsum(space.counts)
        likeliest = [
            self.policies[:, e - c : e].argmax(1) for e, c in zip(ends, space.counts, strict=True)
        ]
        softer = self.policies**SPREAD
        turns = rng.integers(0, len(softer), count * EXTRA)
        around = draw(space, (softer / knob_sums(space, softer))[turns], rng)
        return np.concatenate([np.stack(likeliest, axis=1), around])


@dataclass(frozen=True)
class _SoftPoint:
    """The losses of a soft point, their slopes, and the slope of limits that it passes."""

    losses_m: Floats
    slopes_me: Floats
    limits_e: Floats


class ObjectiveGradients:
    """The slopes of a relaxation's objectives, scaled to each other: what a descent follows."""

    def __init__(
        self, space: DiscreteSpace, objectives: Objectives, relaxation: Relaxation, seed: int
    ) -> None:
        self.space, self.objectives = space, objectives
        self.relaxation, self.seed = relaxation, seed
        self.signs_m = np.array(
            [-1.0] * len(objectives.maximize) + [1.0] * len(objectives.minimize)
        )

    def text(self, losses_m: Floats) -> str:
        """Writes the objectives as a person reads them."""
        values = zip(self.objectives.names, self.signs_m * losses_m, strict=True)
        return ", ".join(f"{name} {value:.4g}" for name, value in values)

    def __call__(self, shares_e: Floats, weights_m: Floats, step: int) -> tuple[Floats, Floats]:
        """The slope (E,) of the weighted maximum and of limits passed, and the losses (M,)."""
        found = self._evaluate(shares_e, step)
        span = np.ptp(self._seen_nm, axis=0)
        scale = np.where(span > 0, span, 1.0)
        pulls = weights_m * (found.losses_m - self._seen_nm.min(axis=0)) / scale / SHARPNESS
        share_m = np.exp(pulls - pulls.max())
        total: Floats = (share_m / share_m.sum() * weights_m / scale) @ found.slopes_me
        return total + LIMIT_WEIGHT * found.limits_e, found.losses_m

    @functools.cached_property
    def _seen_nm(self) -> Floats:
        """(N, M) losses of points that tell how far each objective extends."""
        ends = np.stack([np.zeros_like(self.space.counts), self.space.counts - 1])
        rng = np.random.default_rng(self.seed)
        rows = np.concatenate([ends, self.space.sample(RANGE_SAMPLES, rng)])
        points = enumerate(self.space.one_hot(rows))
        return np.array([self._evaluate(shares_e, step).losses_m for step, shares_e in points])

    def _evaluate(self, shares_e: Floats, step: int) -> _SoftPoint:
        names, objectives = list(self.space.values), self.objectives
        parts = np.split(shares_e, np.cumsum(self.space.counts)[:-1])
        found = self.relaxation(dict(zip(names, parts, strict=True)), step)
        slopes = {name: np.concatenate([found[name][1][knob] for knob in names]) for name in found}
        limits = np.zeros(len(shares_e))
        for name, (sense, bound) in objectives.constraints.items():
            sign = 1.0 if sense == "<=" else -1.0
            if name in found and sign * (found[name][0] - bound) > 0:
                limits += sign * slopes[name] / (abs(bound) or 1.0)
        values = np.array([found[name][0] for name in objectives.names])
        every = np.array([slopes[name] for name in objectives.names])
        return _SoftPoint(self.signs_m * values, self.signs_m[:, None] * every, limits)


def descend(
    slopes: ObjectiveGradients,
    cache: ArrayCache = no_cache,
    log_progress: ProgressLog = log_nothing,
) -> Floats:
    """Probabilities (P, E) that each of P trade-offs arrives at; taken from the cache if there."""
    weights_pm = trade_offs(len(slopes.objectives.names), NUM_DESCENTS)
    policies = []
    for number, weights_m in enumerate(weights_pm, start=1):
        descent = Descent(number, len(weights_pm), weights_m)
        policies.append(
            cache(f"descent-{number}", functools.partial(descent, slopes, log_progress))
        )
    return np.stack(policies)


@dataclass(frozen=True)
class Descent:
    """The descent of one trade-off, number 1 to `total`."""

    number: int
    total: int
    weights_m: Floats

    def __call__(self, slopes: ObjectiveGradients, log_progress: ProgressLog) -> Floats:
        """(E,) probabilities after `STEPS` steps of Adam (Kingma and Ba, 2015) on soft samples."""
        space, rng = slopes.space, np.random.default_rng([slopes.seed, self.number])
        logits = np.zeros(int(space.counts.sum()))
        first, second = np.zeros_like(logits), np.zeros_like(logits)
        for step, temperature in enumerate(np.geomspace(*TEMPERATURES, STEPS), start=1):
            shares = two_paths(space, logits + rng.gumbel(size=len(logits)), temperature)
            slope, losses_m = slopes(shares, self.weights_m, step)
            inner = knob_sums(space, (shares * slope)[None])[0]
            slope = shares * (slope - inner) / temperature
            first = 0.9 * first + 0.1 * slope
            second = 0.99 * second + 0.01 * slope**2
            scale = np.sqrt(second / (1 - 0.99**step)) + 1e-8
            logits = logits - RATE * first / (1 - 0.9**step) / scale
            line = f"descent {self.number}/{self.total}, step {step}/{STEPS}"
            left = (self.total - self.number + 1) * STEPS - step
            log_progress(f"{line}: {slopes.text(losses_m)}", left=left)
        found: Floats = probabilities(space, logits[None])[0]
        return found


def two_paths(space: DiscreteSpace, logits_e: Floats, temperature: float) -> Floats:
    """(E,) shares of the `PATHS` largest logits of each knob; the others have none."""
    shares = []
    for part in np.split(logits_e, np.cumsum(space.counts)[:-1]):
        chosen = np.argsort(-part)[:PATHS]
        weights = np.exp((part[chosen] - part.max()) / temperature)
        share = np.zeros(len(part))
        share[chosen] = weights / weights.sum()
        shares.append(share)
    return np.concatenate(shares)
