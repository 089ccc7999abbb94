"""REINFORCE on a factorised policy: every knob has its own softmax over its values.

Williams 1992; as a controller for architectures, Zoph and Le 2017, here without a recurrent net. A
policy seeks one trade-off between the objectives, and every one learns from every trial, whoever
asked for it: the reward is relative to its own average. So the trade-offs need not stay the same:
each time they are drawn anew and the policies learn from the start, which spreads the trials over
the whole front (as ParEGO does; Knowles 2006). Sums of losses, though blind to dents in the front,
did better here than Chebyshev norms, whose reward tells of one loss only.

Legend: N trials, M losses, P policies, E values of all knobs.
"""

from __future__ import annotations

import numpy as np

from detkit.search.strategies.discrete_space import Floats, Rows
from detkit.search.strategies.policy import draw, knob_sums, probabilities
from detkit.search.strategies.searcher import History, StrategySetup

INITIAL = 32
NUM_POLICIES = 8
STEP = 8  # trials that one step learns from
RATE = 0.08
ENTROPY = 0.01
BASELINE_MEMORY = 0.43  # from one step to the next
EXTRA = 4  # rows drawn for each one asked, as a settled policy repeats itself


class Reinforce:
    """Policies of random trade-offs, taking turns."""

    def __init__(self, setup: StrategySetup) -> None:
        self.seed = setup.seed

    def propose(self, history: History, count: int, rng: np.random.Generator) -> Rows:
        space = history.space
        if history.usable.sum() < INITIAL:
            return space.initial_design(INITIAL, count, self.seed, rng)
        policies = learn(history, random_trade_offs(history.losses_nm.shape[1], rng))
        turns = int(rng.integers(0, len(policies))) + np.arange(count * EXTRA)
        return draw(space, policies[turns % len(policies)], rng)


def random_trade_offs(num_losses: int, rng: np.random.Generator) -> Floats:
    """Weights (P, M) that sum to 1; of two losses, one from each of P equal parts."""
    if num_losses != 2:
        return rng.dirichlet(np.ones(num_losses), NUM_POLICIES)
    first = (np.arange(NUM_POLICIES) + rng.random(NUM_POLICIES)) / NUM_POLICIES
    return np.stack([first, 1 - first], axis=1)


def learn(history: History, weights_pm: Floats) -> Floats:
    """Learns probabilities (P, E) from all trials, in the order told."""
    usable = history.usable
    penalty = np.minimum(history.violations_n[usable], 1.0)
    rewards_np = -(history.scaled_nm[usable] @ weights_pm.T) - penalty[:, None]
    chosen_ne = history.space.one_hot(history.rows_nk[usable])
    logits = np.zeros((len(weights_pm), chosen_ne.shape[1]))
    baseline, spread = rewards_np[:STEP].mean(axis=0), np.full(len(weights_pm), 0.1)
    for start in range(0, len(rewards_np), STEP):
        rewards, chosen = rewards_np[start : start + STEP], chosen_ne[start : start + STEP]
        policy = probabilities(history.space, logits)
        advantages = (rewards - baseline) / spread
        slope = advantages.T @ chosen - advantages.sum(axis=0)[:, None] * policy
        logp = np.log(policy)
        entropy_slope = -policy * (logp - knob_sums(history.space, policy * logp))
        logits = logits + RATE * (slope + ENTROPY * len(rewards) * entropy_slope)
        baseline = _moved(baseline, rewards.mean(axis=0))
        deviation = np.abs(rewards - baseline).mean(axis=0)
        spread = np.maximum(_moved(spread, deviation), 1e-3)
    return probabilities(history.space, logits)


def _moved(average: Floats, new: Floats) -> Floats:
    return BASELINE_MEMORY * average + (1 - BASELINE_MEMORY) * new
