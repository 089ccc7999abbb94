"""Times of this run against an earlier report: whether they may be compared, and the verdict.

A file of the earlier run that is still there is timed again, in turns with the new one (see
`bench.ab_test`); that decides best. Else times are compared over those of the reference work in the
same run, which takes out how fast the machine was, and only if both runs are valid, or if nothing
but other programs speaks against them: then over CPU times. A file that has not changed is compared
in this way too: in turns with itself it could only be equal.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from detkit.artifact.artifact import sha256_of
from detkit.bench.ab_test import ABTest
from detkit.core.errors import ArtifactError, DetkitError, MeasurementError
from detkit.core.reading import require_file
from detkit.inspection.run_folder import read_json_file
from detkit.report import BenchReport, Change, ModelLatency, ReferenceTimes
from detkit.timing.statistics import (
    Floats,
    Interval,
    interval_of,
    over_sessions,
    quartile_ratio,
    quartile_ratios_drawn,
)

MAX_REFERENCE_CHANGE = 0.10  # beyond it the machine is another one
CPU_TIME = ", CPU time"
AGAIN = "measure the baseline again: detkit bench ... --json > FILE"


@dataclass(frozen=True)
class Baseline:
    path: Path
    report: BenchReport
    max_regress: float


@dataclass(frozen=True)
class MeasurementKey:
    """The name of a model, and what must be the same for its times to be compared."""

    name: str
    engine: str
    precision: str
    device: str
    image_size: tuple[int, int]
    batch: int
    threads: int
    scenario: str


def read_baseline(path: Path, max_regress: float) -> Baseline:
    """Reads an earlier report.

    Raises:
        ArtifactError: missing, no report of `detkit bench`, or of another schema.
    """
    require_file(path, hint=AGAIN)
    kind, record = read_json_file(path)
    if not isinstance(record, BenchReport):
        raise ArtifactError(f"{path} is no bench report but: {kind}", hint=AGAIN)
    if not record.models or not all(model.block_ms for model in record.models):
        raise ArtifactError(f"{path} has no times of blocks to compare with", hint=AGAIN)
    return Baseline(path, record, max_regress)


def check_same_machine(baseline: Baseline, fingerprint: dict[str, str]) -> None:
    """Raises MeasurementError naming what differs, if the machine is another."""
    old = baseline.report.fingerprint
    if old.get("id") == fingerprint["id"]:
        return
    names = sorted((old.keys() | fingerprint.keys()) - {"id", "load_average"})
    different = [
        f"{name} {old.get(name, '-')} -> {fingerprint.get(name, '-')}"
        for name in names
        if old.get(name) != fingerprint.get(name)
    ]
    raise MeasurementError(
        f"{baseline.path} is from another machine or other versions: {'; '.join(different)}",
        hint=AGAIN,
    )


def match_models(baseline: Baseline, keys: Sequence[MeasurementKey]) -> list[ModelLatency]:
    """Finds the earlier model for each one: by its file name, else by its position.

    Raises:
        MeasurementError: there is none, or it was measured in another way.
    """
    old = baseline.report.models
    names = [Path(model.file).name for model in old]
    found = []
    for position, key in enumerate(keys):
        if names.count(key.name) == 1:
            model = old[names.index(key.name)]
        elif len(old) == len(keys):
            model = old[position]
        else:
            raise MeasurementError(
                f"{baseline.path} has no {key.name}, but {', '.join(names)}", hint=AGAIN
            )
        _check_same_way(key, key_of(model, baseline.report.scenario), baseline.path)
        found.append(model)
    return found


def key_of(model: ModelLatency, scenario: str) -> MeasurementKey:
    return MeasurementKey(
        name=Path(model.file).name,
        engine=model.runtime,
        precision=model.precision,
        device=model.device,
        image_size=model.image_size,
        batch=model.batch,
        threads=model.threads,
        scenario=scenario,
    )


def _check_same_way(new: MeasurementKey, old: MeasurementKey, path: Path) -> None:
    different = [
        f"{field.name.replace('_', ' ')} {getattr(old, field.name)} -> {getattr(new, field.name)}"
        for field in dataclasses.fields(MeasurementKey)
        if field.name != "name" and getattr(old, field.name) != getattr(new, field.name)
    ]
    if different:
        raise MeasurementError(
            f"{new.name} cannot be compared with {old.name} of {path}: {', '.join(different)}",
            hint="measure both in the same way",
        )


def file_to_time_again(old: ModelLatency, new: Path) -> Path | None:
    """Finds the earlier file, if it is still there as it was and is not the new one."""
    path = Path(old.file)
    try:
        digest = sha256_of(path)
    except (DetkitError, OSError):
        return None
    return path if digest == old.sha256 != sha256_of(new) else None


# --- verdicts ------------------------------------------------------------------------------------


def change_of_ab_test(old: ModelLatency, new: ModelLatency, found: ABTest, limit: float) -> Change:
    old_ms = float(np.median(np.asarray(found.old.wall)))
    new_ms = float(np.median(np.asarray(found.new.wall)))
    by = f"interleaved{CPU_TIME if found.by_cpu else ''}"
    return _change(old, new, (old_ms, new_ms), found.change, found.interval, limit, by)


def change_of_runs(
    reports: tuple[BenchReport, BenchReport],
    models: tuple[ModelLatency, ModelLatency],
    limit: float,
) -> Change:
    """Compares the times of the two runs, over those of the reference work where both have it.

    Args:
        reports: the old and the new one.
        models: a row of each.
    """
    old, new = models
    by_cpu = not all(report.valid for report in reports) and _have_cpu_times(reports, models)
    moved = reference_change(*reports, by_cpu=by_cpu)
    (then, drawn_then), (now, drawn_now) = (
        _over_reference(report, model, moved is not None, by_cpu=by_cpu, seed=seed)
        for seed, (report, model) in enumerate(zip(reports, models, strict=True))
    )
    interval = interval_of(over_sessions(drawn_now / drawn_then) - 1)
    by = f"{'times' if moved is None else 'reference'}{CPU_TIME if by_cpu else ''}"
    both_ms = (old.latency_ms.p50, new.latency_ms.p50)
    found = _change(old, new, both_ms, now / then - 1, interval, limit, by)
    warnings = (
        []
        if by_cpu
        else [*_dated_warnings(reports[0], "baseline"), *_dated_warnings(reports[1], "now")]
    )
    if moved is not None and abs(moved) > MAX_REFERENCE_CHANGE:
        warnings.append(f"the machine itself changed: the reference work by {moved:+.0%}")
    if warnings:
        return dataclasses.replace(found, verdict="unknown", why="; ".join(warnings))
    return found


def _have_cpu_times(
    reports: tuple[BenchReport, BenchReport], models: tuple[ModelLatency, ModelLatency]
) -> bool:
    """Whether CPU times can be compared where wall times cannot."""
    return (
        all(report.cpu_time_valid for report in reports)
        and all(model.block_cpu_ms for model in models)
        and all(report.reference and report.reference.block_cpu_ms for report in reports)
    )


def _blocks_of(times: ModelLatency | ReferenceTimes, by_cpu: bool) -> tuple[float, ...]:
    return times.block_cpu_ms if by_cpu else times.block_ms


def _over_reference(
    report: BenchReport, model: ModelLatency, has_reference: bool, *, by_cpu: bool, seed: int
) -> tuple[float, Floats]:
    """Divides the model's time by the reference work's, where there is one; also as drawn again."""
    blocks = _blocks_of(model, by_cpu)
    below = (1.0,) * len(blocks)
    if has_reference and report.reference is not None:
        below = _blocks_of(report.reference, by_cpu)
    both = (_one_each(blocks), _one_each(below))
    return quartile_ratio(*both), quartile_ratios_drawn(*both, seed=seed)


def _one_each(blocks: Sequence[float]) -> list[list[float]]:
    return [[value] for value in blocks]


def _dated_warnings(report: BenchReport, when: str) -> list[str]:
    return [f"{when}: {warning}" for warning in report.warnings]


def reference_change(
    before: BenchReport, after: BenchReport, *, by_cpu: bool = False
) -> float | None:
    """Change of the reference work, new / old - 1; None where a run has none, or another one."""
    old, new = before.reference, after.reference
    if old is None or new is None or old.name != new.name:
        return None
    both = (_one_each(_blocks_of(times, by_cpu)) for times in (new, old))
    return quartile_ratio(*both) - 1


def _change(
    old: ModelLatency,
    new: ModelLatency,
    both_ms: tuple[float, float],
    change: float,
    interval: Interval,
    limit: float,
    decided_by: str,
) -> Change:
    verdict, why = verdict_of(interval, limit)
    return Change(
        file=new.file,
        baseline_file=old.file,
        old_ms=both_ms[0],
        new_ms=both_ms[1],
        change=change,
        low=interval.low,
        high=interval.high,
        verdict=verdict,
        decided_by=decided_by,
        why=why,
    )


def verdict_of(interval: Interval, limit: float) -> tuple[str, str]:
    """Gives the verdict that the interval allows, and why if it is unknown.

    One that holds the limit and is wider than it to either side could hide twice the limit.
    """
    half = (interval.high - interval.low) / 2
    if interval.low > limit:
        return "regression", ""
    if half > limit and interval.high > limit:
        return "unknown", f"the interval of +-{half:.1%} is wider than the limit of {limit:.1%}"
    if interval.low > 0:
        return "slower", ""
    return ("faster" if interval.high < 0 else "no change"), ""
