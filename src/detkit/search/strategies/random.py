"""Every point equally likely: what any other searcher has to beat."""

from __future__ import annotations

import numpy as np

from detkit.search.strategies.grid import Rows
from detkit.search.strategies.searcher import History, Setup


class RandomStrategy:
    """Learns nothing."""

    def __init__(self, setup: Setup) -> None:
        del setup

    def propose(self, history: History, count: int, rng: np.random.Generator) -> Rows:
        return history.grid.sample(count, rng)
