"""What a study seeks: the objectives of its searcher, and the figures that the searcher is told.

`OBJECTIVES` is the plug-in table. A trial's own figures are `score`, higher being better, and the
costs `latency_ms`, `parameters` and `macs`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from detkit.config import SearchConfig
from detkit.search.strategies.objectives import Limit, Objectives

LIMITED = ("latency_bound_ms", "parameters", "macs")


Scalarization = Callable[[float, float], float]  # score, cost -> the one value to maximise


def pareto(config: SearchConfig) -> None:
    """Seeks the best score at every cost: there is no one value."""
    del config


def lagrangian(config: SearchConfig) -> Scalarization:
    """Maximises score - beta * cost."""
    return lambda score, cost: score - config.beta * cost


def weighted(config: SearchConfig) -> Scalarization:
    """Maximises alpha * score - beta * cost."""
    return lambda score, cost: config.alpha * score - config.beta * cost


OBJECTIVES: dict[str, Callable[[SearchConfig], Scalarization | None]] = {
    "pareto": pareto,
    "lagrangian": lagrangian,
    "weighted": weighted,
}


def find_scalarization(config: SearchConfig) -> Scalarization | None:
    """The scalarization that the settings name; None where score and cost are sought apart."""
    return OBJECTIVES[config.objective](config)


def limits(config: SearchConfig) -> dict[str, Limit]:
    """The limits that the user set, by figure.

    A predicted latency must keep its limit with the margin of its error.
    """
    bounds = (config.max_latency_ms, config.max_params, config.max_macs)
    return {name: ("<=", bound) for name, bound in zip(LIMITED, bounds, strict=True) if bound}


def objectives_of(config: SearchConfig) -> Objectives:
    """The objectives of the searcher, by the objective of the study."""
    if find_scalarization(config) is None:
        return Objectives(maximize=("score",), minimize=(config.cost,), constraints=limits(config))
    return Objectives(maximize=("value",), constraints=limits(config))


def front_objectives(config: SearchConfig) -> Objectives:
    """The objectives that the report's front is made by, whatever was sought."""
    return Objectives(maximize=("score",), minimize=(config.cost,), constraints=limits(config))


def to_tell(
    config: SearchConfig, objectives: Objectives, figures: Mapping[str, float]
) -> dict[str, float]:
    """A trial's figures by the names of the objectives and constraints."""
    value = find_scalarization(config)
    known = dict(figures)
    if value is not None:
        known["value"] = value(figures.get("score", math.nan), figures[config.cost])
    return {name: known[name] for name in (*objectives.names, *objectives.constraints)}


def with_bound(latency_ms: float, error: float) -> dict[str, float]:
    """The figures of a latency that is wrong by a share `error` at most, as a rule."""
    bound = latency_ms / max(1 - error, 0.1)
    return {"latency_ms": latency_ms, "latency_error": error, "latency_bound_ms": bound}
