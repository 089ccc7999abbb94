"""Automatic mixed precision: INT8 with as few groups in float as a bound on the drop allows.

The groups that are noisiest alone are each returned to float and scored; then all are returned one
after another, first those that recover the most AP for a millisecond, until the bound holds. Every
point on the way is measured, AP and time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from detkit.bench.measure import latency_stats, paired_ratio
from detkit.nn.quantized import QuantizedDetector
from detkit.quantize.rig import Draft, Rig
from detkit.report import GroupSensitivity, ParetoPoint

MIN_COST_MS = 1e-3  # a group that costs less than can be timed costs this


@dataclass(frozen=True)
class Walk:
    """Groups as measured, and the points walked, from all INT8 on."""

    sensitivity: tuple[GroupSensitivity, ...]
    points: tuple[ParetoPoint, ...]


def walk_to_bound(
    model: QuantizedDetector,
    noise_db: dict[str, float],
    rig: Rig,
    runtime: str,
    *,
    max_drop: float,
    confirm: int,
    tell: Callable[[str], None],
) -> Walk:
    """Returns groups to float until the drop is within `max_drop` points of AP.

    `model` is left with none in float. The last point is the one that holds, or, where none does,
    the one with the most groups in float.
    """
    ap_float = rig.ap(rig.float_draft(runtime).session)
    base = _try(model, (), rig, runtime, ap_float)
    groups = [_sensitivity(model, name, noise) for name, noise in noise_db.items()]
    points = [base.point]
    if base.point.drop > max_drop:
        groups = [
            _confirm(model, group, base, rig, runtime, ap_float, tell) if rank < confirm else group
            for rank, group in enumerate(groups)
        ]
        groups = sorted(groups, key=_worth, reverse=True)
        points += _walk(model, groups, base, rig, runtime, ap_float, max_drop, tell)
    model.keep_in_float(())
    return Walk(tuple(groups), tuple(points))


@dataclass(frozen=True)
class _Trial:
    point: ParetoPoint
    draft: Draft


def _walk(
    model: QuantizedDetector,
    groups: Sequence[GroupSensitivity],
    base: _Trial,
    rig: Rig,
    runtime: str,
    ap_float: float,
    max_drop: float,
    tell: Callable[[str], None],
) -> list[ParetoPoint]:
    points: list[ParetoPoint] = []
    for count in range(1, len(groups) + 1):
        kept = tuple(group.group for group in groups[:count])
        point = _try(model, kept, rig, runtime, ap_float, base=base).point
        points.append(point)
        tell(
            f"{count} groups in float, last {kept[-1]}: drop {point.drop:+.2f} points,"
            f" {point.latency_ms:.2f} ms"
        )
        if point.drop <= max_drop:
            break
    return points


def _sensitivity(model: QuantizedDetector, name: str, noise: float) -> GroupSensitivity:
    return GroupSensitivity(group=name, convolutions=len(model.plan.groups[name]), noise_db=noise)


def _confirm(
    model: QuantizedDetector,
    group: GroupSensitivity,
    base: _Trial,
    rig: Rig,
    runtime: str,
    ap_float: float,
    tell: Callable[[str], None],
) -> GroupSensitivity:
    point = _try(model, (group.group,), rig, runtime, ap_float, base=base).point
    recovered = base.point.drop - point.drop
    cost = point.latency_ms - base.point.latency_ms
    tell(
        f"{group.group}: {group.noise_db:.1f} dB alone; in float it recovers {recovered:+.2f}"
        f" points for {cost:+.2f} ms"
    )
    return GroupSensitivity(
        group=group.group,
        convolutions=group.convolutions,
        noise_db=group.noise_db,
        recovered=recovered,
        cost_ms=cost,
    )


def _worth(group: GroupSensitivity) -> tuple[bool, float]:
    """Points of AP recovered per millisecond; those measured to recover none, by their noise."""
    if group.recovered is not None and group.cost_ms is not None and group.recovered > 0:
        return True, group.recovered / max(group.cost_ms, MIN_COST_MS)
    return False, -group.noise_db


def _try(
    model: QuantizedDetector,
    kept: tuple[str, ...],
    rig: Rig,
    runtime: str,
    ap_float: float,
    *,
    base: _Trial | None = None,
) -> _Trial:
    """Measures one choice of groups; its time in turns with the all-INT8 graph."""
    model.keep_in_float(kept)
    draft = rig.draft(model, runtime)
    timings = rig.time([draft] if base is None else [base.draft, draft])
    latency = latency_stats(timings[-1].samples_ms).p50
    if base is not None:
        latency = base.point.latency_ms * paired_ratio(timings[-1], timings[0])
    ap = rig.ap(draft.session)
    point = ParetoPoint(
        float_groups=kept,
        ap=ap,
        drop=100 * (ap_float - ap),
        latency_ms=latency,
        megabytes=draft.bytes / 1e6,
    )
    return _Trial(point, draft)
