"""Every point equally likely: what any other searcher has to beat."""

from __future__ import annotations

import numpy as np

from detkit.search.strategies.discrete_space import Rows
from detkit.search.strategies.searcher import History, StrategySetup


class RandomStrategy:
    """Draws at random; learns nothing."""

    def __init__(self, setup: StrategySetup) -> None:
        del setup

    def propose(self, history: History, count: int, rng: np.random.Generator) -> Rows:
        return history.space.sample(count, rng)
