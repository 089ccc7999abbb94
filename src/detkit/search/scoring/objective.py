"""What a study seeks, as the goal of a searcher and the figures it is told.

`OBJECTIVES` is the plug-in table. A trial's own figures are `score`, higher being better, and the
costs `latency_ms`, `parameters` and `macs`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from detkit.config import SearchConfig
from detkit.core.errors import UsageError, did_you_mean
from detkit.search.strategies.goal import Goal, Limit

COSTS = ("latency_ms", "parameters", "macs")
LIMITED = ("latency_bound_ms", "parameters", "macs")


@dataclass(frozen=True, kw_only=True)
class Objective:
    """`value` makes one figure of a trial's score and cost; without it both are sought apart."""

    value: Callable[[float, float], float] | None


def pareto(config: SearchConfig) -> Objective:
    """The best score at every cost."""
    del config
    return Objective(value=None)


def lagrangian(config: SearchConfig) -> Objective:
    """score - beta * cost."""
    return Objective(value=lambda score, cost: score - config.beta * cost)


def weighted(config: SearchConfig) -> Objective:
    """alpha * score - beta * cost."""
    return Objective(value=lambda score, cost: config.alpha * score - config.beta * cost)


OBJECTIVES: dict[str, Callable[[SearchConfig], Objective]] = {
    "pareto": pareto,
    "lagrangian": lagrangian,
    "weighted": weighted,
}


def find_objective(config: SearchConfig) -> Objective:
    """Raises UsageError for an objective or a cost of another name."""
    if config.objective not in OBJECTIVES:
        hint = did_you_mean(config.objective, OBJECTIVES)
        raise UsageError(f"unknown objective '{config.objective}'", hint=hint)
    if config.cost not in COSTS:
        raise UsageError(f"unknown cost '{config.cost}'", hint=did_you_mean(config.cost, COSTS))
    return OBJECTIVES[config.objective](config)


def limits(config: SearchConfig) -> dict[str, Limit]:
    """The limits that the user set, by figure.

    A predicted latency must keep its limit with the margin of its error.
    """
    bounds = (config.max_latency_ms, config.max_params, config.max_macs)
    return {name: ("<=", bound) for name, bound in zip(LIMITED, bounds, strict=True) if bound}


def goal_of(config: SearchConfig) -> Goal:
    """What the searcher is asked to reach."""
    if find_objective(config).value is None:
        return Goal(maximize=("score",), minimize=(config.cost,), constraints=limits(config))
    return Goal(maximize=("value",), constraints=limits(config))


def front_goal(config: SearchConfig) -> Goal:
    """What the report's front is made by, whatever was sought."""
    return Goal(maximize=("score",), minimize=(config.cost,), constraints=limits(config))


def to_tell(config: SearchConfig, goal: Goal, figures: Mapping[str, float]) -> dict[str, float]:
    """A trial's figures as the goal names them."""
    value = find_objective(config).value
    told = dict(figures)
    if value is not None:
        told["value"] = value(figures.get("score", math.nan), figures[config.cost])
    return {name: told[name] for name in (*goal.objectives, *goal.constraints)}


def with_bound(latency_ms: float, error: float) -> dict[str, float]:
    """The figures of a latency that is wrong by a share `error` at most, as a rule."""
    bound = latency_ms / max(1 - error, 0.1)
    return {"latency_ms": latency_ms, "latency_error": error, "latency_bound_ms": bound}
