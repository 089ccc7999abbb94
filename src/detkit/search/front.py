"""The front of a study's trials: score against cost, whatever the searcher was told to seek."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from detkit.config import SearchConfig
from detkit.search.grid import Floats
from detkit.search.hypervolume import hypervolume
from detkit.search.journal import Told
from detkit.search.objective import front_goal
from detkit.search.pareto import nondominated


def front_of(config: SearchConfig, told: list[Told]) -> list[Told]:
    """Trials within all limits that none of them beats in score and cost, by ascending cost."""
    goal = front_goal(config)
    kept = [
        trial
        for trial in told
        if goal.violation(trial.figures) <= 0 and np.isfinite(goal.losses(trial.figures)).all()
    ]
    losses = np.array([goal.losses(trial.figures) for trial in kept]).reshape(-1, 2)
    front = [trial for trial, best in zip(kept, nondominated(losses), strict=True) if best]
    return sorted(front, key=lambda trial: trial.figures[config.cost])


def volume_of(config: SearchConfig, told: list[Told], front: list[Told]) -> float:
    """Hypervolume over score and the logarithm of cost, from the worst of either seen so far."""
    if not front:
        return 0.0
    seen = _losses(config, told)
    reference = seen[np.isfinite(seen).all(axis=1)].max(axis=0)
    return hypervolume(_losses(config, front), reference)


def _losses(config: SearchConfig, trials: list[Told]) -> Floats:
    def pair(figures: Mapping[str, float]) -> tuple[float, float]:
        return -figures["score"], math.log(max(figures[config.cost], 1e-9))

    return np.array([pair(trial.figures) for trial in trials])
