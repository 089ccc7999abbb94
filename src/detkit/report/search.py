"""The front of a search."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from detkit.core.content_digest import Sealed
from detkit.report.record import Report


@dataclass(frozen=True, kw_only=True)
class ParetoPoint(Sealed):
    """One architecture on the front. `score` is what it was searched by: an AP, a proxy's figure.

    `ap` is that of `checkpoint`, None where nothing was trained.

    `measured` is True where `latency_ms` was timed, not predicted; then `latency_error`, a share of
    it, is 0.
    """

    name: str
    arch: dict[str, Any]  # an ArchSpec as JSON
    digest: str
    ap: float | None
    score: float
    latency_ms: float
    measured: bool
    latency_error: float = 0.0
    parameters: int
    macs: int
    checkpoint: str  # empty where nothing was trained


@dataclass(frozen=True, kw_only=True)
class SearchReport(Report):
    """What a search found: `pareto` by ascending cost; `hypervolume` of scaled score and cost.

    `licence` is of the checkpoints on the front, all that hold for any of them.
    """

    kind: str = "search report"
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
    device: str = "cpu"
    threads: int
    max_latency_ms: float = 0.0  # the limit that every point keeps; 0 is none
    latency_profile: str = ""  # empty where latency was measured here
    reference_ms: tuple[float, ...]  # of one and the same network, beside every candidate
    seconds: float
    fingerprint: dict[str, str]
    licence: str = ""


@dataclass(frozen=True, kw_only=True)
class MeasuredPoint:
    """A network of a front, timed; `searched_ms` is what the search had said."""

    name: str
    digest: str
    searched_ms: float
    latency_ms: float


@dataclass(frozen=True, kw_only=True)
class MeasuredFront(Report):
    """The networks of a search timed on a device, for `detkit search --measured`."""

    kind: str = "measured front"
    schema_version: int = 1
    unit: str = "ms"
    networks: tuple[MeasuredPoint, ...]
    runtime: str
    runtime_version: str
    precision: str
    device: str
    threads: int
    clock: str
    reference_ms: tuple[float, ...]
    warnings: tuple[str, ...]
    fingerprint: dict[str, str]
