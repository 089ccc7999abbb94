"""The front of a study's trials: score against cost, whatever the searcher was told to seek."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from detkit.artifact.artifact import read_manifest
from detkit.artifact.licence import join_licences
from detkit.config import SearchConfig
from detkit.search.scoring.objective import front_objectives
from detkit.search.strategies.discrete_space import Floats
from detkit.search.strategies.hypervolume import hypervolume
from detkit.search.strategies.pareto import nondominated
from detkit.search.study.journal import CompletedTrial


def front_of(config: SearchConfig, trials: list[CompletedTrial]) -> list[CompletedTrial]:
    """Trials within all limits that none of them beats in score and cost, by ascending cost."""
    objectives = front_objectives(config)
    kept = [
        trial
        for trial in trials
        if objectives.violation(trial.figures) <= 0
        and np.isfinite(objectives.losses(trial.figures)).all()
    ]
    losses = np.array([objectives.losses(trial.figures) for trial in kept]).reshape(-1, 2)
    front = [trial for trial, best in zip(kept, nondominated(losses), strict=True) if best]
    return sorted(front, key=lambda trial: trial.figures[config.cost])


def volume_of(
    config: SearchConfig, trials: list[CompletedTrial], front: list[CompletedTrial]
) -> float:
    """Hypervolume over score and the logarithm of cost, from the worst of either seen so far."""
    return hypervolume(_losses(config, front), worst_of(config, trials)) if front else 0.0


def volumes_of(config: SearchConfig, trials: list[CompletedTrial]) -> list[float]:
    """Hypervolume after every trial, all from the worst of either seen to the end."""
    objectives, losses, reference = (
        front_objectives(config),
        _losses(config, trials),
        worst_of(config, trials),
    )
    front, volumes = np.empty((0, 2)), []
    for trial, loss in zip(trials, losses, strict=True):
        if objectives.violation(trial.figures) <= 0 and np.isfinite(loss).all():
            front = np.vstack([front, loss])
            front = front[nondominated(front)]
        volumes.append(hypervolume(front, reference))
    return volumes


def worst_of(config: SearchConfig, trials: list[CompletedTrial]) -> Floats:
    """The reference point (2,) of hypervolumes: losses that no complete trial exceeds."""
    losses = _losses(config, trials)
    complete = losses[np.isfinite(losses).all(axis=1)]
    return complete.max(axis=0) if len(complete) else np.zeros(2)


def _losses(config: SearchConfig, trials: list[CompletedTrial]) -> Floats:
    def pair(figures: Mapping[str, float]) -> tuple[float, float]:
        return -figures["score"], math.log(max(figures[config.cost], 1e-9))

    return np.array([pair(trial.figures) for trial in trials], np.float64).reshape(-1, 2)


def licence_of(checkpoints: Iterable[str]) -> str:
    """The licences that hold for any of these checkpoints; those not made ("") or gone say none."""
    paths = [Path(name) for name in checkpoints if name]
    return join_licences(*(read_manifest(p, verify=False).licence for p in paths if p.is_file()))
