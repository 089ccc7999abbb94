"""REINFORCE on a factorised policy: every knob has its own softmax over its values.

Williams 1992; as a controller for architectures, Zoph and Le 2017, here without a recurrent net. A
policy seeks one trade-off between the objectives; several policies share the budget and together
draw the front. Every policy learns from every trial, whoever asked for it: the reward is relative
to its own average, so foreign trials count like its own.

Legend: N trials, M losses, E values of all knobs.
"""

from __future__ import annotations

import numpy as np

from detkit.search.grid import Floats, Rows
from detkit.search.policy import draw, knob_sums, probabilities, trade_offs
from detkit.search.searcher import History, Setup

INITIAL = 32
NUM_POLICIES = 8
RATE = 0.08
ENTROPY = 0.01
BASELINE_MEMORY = 0.9
EXTRA = 4  # rows drawn for each one asked, as a settled policy repeats itself


class Reinforce:
    """Policies of different trade-offs, taking turns."""

    def __init__(self, setup: Setup) -> None:
        self.seed = setup.seed

    def propose(self, history: History, count: int, rng: np.random.Generator) -> Rows:
        grid = history.grid
        if history.usable.sum() < INITIAL:
            return grid.opening(INITIAL, count, self.seed, rng)
        policies = learn(history)
        turns = int(rng.integers(0, len(policies))) + np.arange(count * EXTRA)
        return draw(grid, policies[turns % len(policies)], rng)


def learn(history: History) -> Floats:
    """(P, E) probabilities after all trials, in the order told."""
    usable = history.usable
    losses = history.scaled_nm[usable]
    weights_pm = trade_offs(losses.shape[1], NUM_POLICIES)
    penalty = np.minimum(history.violations_n[usable], 1.0)
    rewards_np = -(losses @ weights_pm.T) - penalty[:, None]
    chosen_ne = history.grid.one_hot(history.rows_nk[usable])
    logits = np.zeros((len(weights_pm), chosen_ne.shape[1]))
    baseline, spread = rewards_np[0], np.full(len(weights_pm), 0.1)
    for chosen, reward in zip(chosen_ne, rewards_np, strict=True):
        policy = probabilities(history.grid, logits)
        advantage = (reward - baseline) / spread
        logp = np.log(policy)
        entropy_slope = -policy * (logp - knob_sums(history.grid, policy * logp))
        step = advantage[:, None] * (chosen - policy) + ENTROPY * entropy_slope
        logits = logits + RATE * step
        baseline = BASELINE_MEMORY * baseline + (1 - BASELINE_MEMORY) * reward
        deviation = np.abs(reward - baseline)
        spread = np.maximum(BASELINE_MEMORY * spread + (1 - BASELINE_MEMORY) * deviation, 1e-3)
    return probabilities(history.grid, logits)
