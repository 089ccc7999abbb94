"""Searchers of finite spaces, and the `search` verb that uses them on detectors.

    from detkit import make_searcher
    searcher = make_searcher("evolution", knobs={"depth": (1, 2, 3), "width": (16, 32, 64)},
                             maximize=("accuracy",), minimize=("latency_ms",), seed=0)
    points = searcher.ask(8)
    searcher.tell(points[0], {"accuracy": 0.41, "latency_ms": 7.2})
    searcher.front()

A searcher knows nothing of detectors. `SEARCHERS` is the plug-in table: name -> "module:class" of a
Strategy, imported when it is first asked for, so that help and completions stay quick.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from detkit.core.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from detkit.search.strategies.discrete_space import Point
    from detkit.search.strategies.objectives import Limit
    from detkit.search.strategies.searcher import ArrayCache, ProgressLog, Relaxation, Searcher

SEARCHERS: dict[str, str] = {
    "surrogate": "detkit.search.strategies.surrogate:Surrogate",
    "evolution": "detkit.search.strategies.evolution:Evolution",
    "rl": "detkit.search.strategies.rl:Reinforce",
    "gradient": "detkit.search.strategies.gradient:Gradient",
    "random": "detkit.search.strategies.random:RandomStrategy",
}


def make_searcher(
    name: str,
    *,
    knobs: Mapping[str, Sequence[Any]],
    maximize: Sequence[str] = (),
    minimize: Sequence[str] = (),
    constraints: Mapping[str, Limit] | None = None,
    seed: int = 0,
    start: Sequence[Point] = (),
    relaxation: Relaxation | None = None,
    cache: ArrayCache | None = None,
    log_progress: ProgressLog | None = None,
) -> Searcher:
    """A searcher over all combinations of the knobs' values.

    Args:
        knobs: name -> values, in their natural order where they have one.
        constraints: figure -> ("<=", bound) or (">=", bound); the figure need not be an objective.
        start: points to ask for first.
        relaxation: an evaluator that can be differentiated, which `gradient` needs.
        cache: keeps what a searcher works out at length.
        log_progress: gets a line on how far a searcher is that works for long.

    >>> searcher = make_searcher(
    ...     "random", knobs={"depth": (1, 2, 3)}, maximize=["ap"], minimize=["latency_ms"]
    ... )
    >>> for point in searcher.ask(3):
    ...     searcher.tell(point, {"ap": point["depth"] / 10, "latency_ms": point["depth"]})
    >>> sorted(trial.point["depth"] for trial in searcher.front())
    [1, 2, 3]

    Raises:
        UsageError: an unknown searcher, no knobs or objectives, or values that make no sense.
    """
    if name not in SEARCHERS:
        raise UsageError(f"unknown searcher '{name}'", hint=did_you_mean(name, SEARCHERS))
    if seed < 0:
        raise UsageError(f"seed {seed}: 0 or more")
    from detkit.search.strategies.discrete_space import DiscreteSpace
    from detkit.search.strategies.objectives import make_objectives
    from detkit.search.strategies.searcher import Searcher, StrategySetup, log_nothing, no_cache

    space, objectives = DiscreteSpace(knobs), make_objectives(maximize, minimize, constraints)
    setup = StrategySetup(
        objectives=objectives,
        seed=seed,
        relaxation=relaxation,
        cache=cache or no_cache,
        log_progress=log_progress or log_nothing,
    )
    module, _, strategy_name = SEARCHERS[name].partition(":")
    strategy = getattr(importlib.import_module(module), strategy_name)(setup)
    return Searcher(space, objectives, strategy, seed=seed, start=start)
