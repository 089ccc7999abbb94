"""The front of a search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class ParetoPoint:
    """One architecture on the front. `score` is what it was searched by: an AP, a proxy's figure.

    `ap` is that of `checkpoint`, None where nothing was trained.

    `measured` is True where `latency_ms` was timed on this machine, not predicted.
    """

    name: str
    arch: dict[str, Any]  # an ArchSpec as JSON
    digest: str
    ap: float | None
    score: float
    latency_ms: float
    measured: bool
    parameters: int
    macs: int
    checkpoint: str  # empty where nothing was trained


@dataclass(frozen=True, kw_only=True)
class SearchReport:
    """`pareto` by ascending cost. `hypervolume` is of scaled score and cost, see `search.study`."""

    schema_version: int = 1
    pareto: tuple[ParetoPoint, ...]
    space: str
    space_digest: str
    space_size: int
    searcher: str
    evaluator: str
    objective: str
    cost: str
    data: str
    trials: int
    over_limit: int
    failed: int
    hypervolume: float
    runtime: str
    precision: str
    threads: int
    reference_ms: tuple[float, ...]  # of one and the same network, beside every candidate
    seconds: float
    fingerprint: dict[str, str]
