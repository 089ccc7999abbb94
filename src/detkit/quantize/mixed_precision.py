"""Automatic mixed precision: INT8 with as few groups in float as a bound on the drop allows.

The groups that are noisiest alone are each returned to float and scored; then all are returned one
after another, first those that recover the most AP for a millisecond, until the bound holds. Every
point on the way is measured, AP and time. Groups that are too noisy to be of use in INT8 are in
float from the start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from detkit.nn.quantization.quantized import QuantizedDetector
from detkit.quantize.graph_scorer import ExportedGraph, GraphScorer
from detkit.report import GroupSensitivity, QuantPoint
from detkit.timing.side_by_side import NOT_MEASURED

LEAST_COST = 0.005  # of the time of all INT8: smaller differences cannot be told from noise
UNTIMED_MS = 1.0  # that every group is taken to cost where not all could be timed


@dataclass(frozen=True)
class PrecisionPath:
    """Each group as measured alone, and the points measured in turn, that with most INT8 first."""

    sensitivity: tuple[GroupSensitivity, ...]
    points: tuple[QuantPoint, ...]


def ms_text(latency_ms: float | None) -> str:
    """A latency, or that there is none."""
    return f"time {NOT_MEASURED}" if latency_ms is None else f"{latency_ms:.2f} ms"


def too_noisy(noise_db: Mapping[str, float], least_db: float) -> tuple[str, ...]:
    """The groups that leave less than `least_db` of signal to noise when INT8 alone, worst first.

    Where one tensor is the cause, the groups that make and take it are all among them, so that it
    is not rounded any more.
    """
    return tuple(group for group, noise in noise_db.items() if noise < least_db)


def search_mixed_precision(
    model: QuantizedDetector,
    noise_db: dict[str, float],
    scorer: GraphScorer,
    engine: str,
    *,
    max_drop: float,
    confirm: int,
    always: tuple[str, ...] = (),
    log: Callable[[str], None],
) -> PrecisionPath:
    """Returns groups to float until the drop is within `max_drop` points of AP.

    `model` is left with only `always` in float. The last point is the one that holds, or, where
    none does, the one with the most groups in float.

    Args:
        noise_db: of each group, the noisiest first.
        confirm: so many of them are measured one by one.
        always: groups that are in float at every point.
    """
    prober = _Prober(model, scorer, engine, always)
    measured = {
        name: GroupSensitivity(
            group=name, convolutions=len(model.plan.groups[name]), noise_db=noise
        )
        for name, noise in noise_db.items()
    }
    fixed = [measured.pop(name) for name in always]
    groups = list(measured.values())
    points = [prober.base]
    if prober.base.drop > max_drop:
        groups[:confirm] = [_confirmed(group, prober, log) for group in groups[:confirm]]
        timed = all(group.cost_ms is not None for group in groups[:confirm])
        least_ms = LEAST_COST * (prober.base.latency_ms or UNTIMED_MS)
        groups.sort(key=lambda group: _worth(group, least_ms, timed=timed), reverse=True)
        names = [group.group for group in groups]
        points += _return_groups(names, prober, max_drop=max_drop, log=log)
    model.keep_in_float(always)
    return PrecisionPath((*fixed, *groups), tuple(points))


class _Prober:
    """Measures sets of groups in float, by turns with the graph of only `always` in float."""

    def __init__(
        self, model: QuantizedDetector, scorer: GraphScorer, engine: str, always: tuple[str, ...]
    ) -> None:
        self._model, self._scorer, self._engine = model, scorer, engine
        self._always = always
        self._ap_float = scorer.float_ap(engine)
        model.keep_in_float(always)
        self._base_graph = scorer.export(model, engine)
        (alone_ms,) = scorer.time([self._base_graph]).p50_ms
        self.base = self._point(always, self._base_graph, alone_ms)

    def measure(self, returned: tuple[str, ...]) -> QuantPoint:
        """Measures with these in float beside those that always are."""
        kept = (*self._always, *returned)
        self._model.keep_in_float(kept)
        graph = self._scorer.export(self._model, self._engine)
        ratio = self._scorer.time([self._base_graph, graph]).ratio
        base_ms = self.base.latency_ms
        latency_ms = None if base_ms is None or ratio is None else base_ms * ratio.value
        return self._point(kept, graph, latency_ms)

    def _point(
        self, kept: tuple[str, ...], graph: ExportedGraph, latency_ms: float | None
    ) -> QuantPoint:
        ap = self._scorer.ap(graph.session)
        return QuantPoint(
            float_groups=kept,
            ap=ap,
            drop=100 * (self._ap_float - ap),
            latency_ms=latency_ms,
            megabytes=graph.bytes / 1e6,
        )


def _confirmed(
    group: GroupSensitivity, prober: _Prober, log: Callable[[str], None]
) -> GroupSensitivity:
    """Measures what it recovers and costs to return this group alone to float."""
    point = prober.measure((group.group,))
    recovered = prober.base.drop - point.drop
    base_ms, with_it_ms = prober.base.latency_ms, point.latency_ms
    cost_ms = None if base_ms is None or with_it_ms is None else with_it_ms - base_ms
    cost = "" if cost_ms is None else f" for {cost_ms:+.2f} ms"
    log(
        f"{group.group}: {group.noise_db:.1f} dB alone; in float it recovers {recovered:+.2f}"
        f" points{cost}"
    )
    return replace(group, recovered=recovered, cost_ms=cost_ms)


def _worth(group: GroupSensitivity, least_ms: float, *, timed: bool) -> tuple[bool, float]:
    """Points of AP recovered per millisecond; those measured to recover none, by their noise.

    Where the machine was too busy to time all, the points alone.
    """
    if group.recovered is not None and group.recovered > 0:
        cost_ms = group.cost_ms if timed and group.cost_ms is not None else UNTIMED_MS
        return True, group.recovered / max(cost_ms, least_ms)
    return False, -group.noise_db


def _return_groups(
    names: Sequence[str], prober: _Prober, *, max_drop: float, log: Callable[[str], None]
) -> Iterator[QuantPoint]:
    """Returns group after group to float and measures, up to the first point that holds."""
    for count in range(1, len(names) + 1):
        point = prober.measure(tuple(names[:count]))
        log(
            f"{count} groups in float, last {names[count - 1]}: drop {point.drop:+.2f} points,"
            f" {ms_text(point.latency_ms)}"
        )
        yield point
        if point.drop <= max_drop:
            return
