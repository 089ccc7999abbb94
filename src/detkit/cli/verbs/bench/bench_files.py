"""`detkit bench MODEL...`: files timed in turns, and held against limits and a baseline."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from detkit.cli import console
from detkit.cli.foreign_outputs import foreign_specs
from detkit.cli.report_output import check_report_file, emit_report
from detkit.cli.verbs.bench.bench_flags import BenchFlags
from detkit.cli.verbs.bench.bench_table import lines_of
from detkit.core.errors import GateError, MeasurementError, UsageError

if TYPE_CHECKING:
    from detkit.report import BaselineComparison, BenchReport, Change

PERCENT = re.compile(r"(\d+(?:\.\d+)?) ?%")
MAX_REGRESS = "5%"


def bench_files(flags: BenchFlags) -> None:
    if flags.max_regress is not None and flags.baseline is None:
        raise UsageError("--max-regress needs a --baseline to compare with")
    limit = _share(flags.max_regress or MAX_REGRESS)
    check_report_file(flags.out, force=flags.force)
    from detkit.bench.baseline import read_baseline
    from detkit.bench.run import bench
    from detkit.timing.measure import Plan

    report = bench(
        flags.models,
        runtime=flags.runtime,
        placement=flags.placement,
        batch=flags.batch,
        plan=Plan(min_seconds=flags.seconds, min_runs=flags.runs, chain_runs=min(flags.runs, 50)),
        data=flags.data,
        foreign=foreign_specs(flags.outputs, flags.models),
        scenario=flags.scenario,
        baseline=read_baseline(flags.baseline, limit) if flags.baseline else None,
        tell=console.log,
    )
    emit_report(report, flags.out, json=flags.json, lines=lines_of(report))
    tell_doubts(report.reasons, report.cures)
    _check_gates(report, flags.max_ms, strict=flags.strict)


def tell_doubts(reasons: tuple[str, ...], cures: tuple[str, ...]) -> None:
    for reason in reasons:
        console.warn(f"not to be trusted: {reason}")
    for cure in cures:
        console.log(f"hint: {cure}")


def check_trust(reasons: tuple[str, ...], cures: tuple[str, ...]) -> None:
    """Raises MeasurementError if there are reasons not to trust the times."""
    if reasons:
        raise MeasurementError(
            "the times cannot be trusted: " + "; ".join(reasons), hint="; ".join(cures)
        )


def _share(percent: str) -> float:
    """0.05 of `5%`.

    Raises:
        UsageError: no percentage, or not between 0 and 100.
    """
    found = PERCENT.fullmatch(percent.strip())
    if not found or not 0 < float(found[1]) < 100:
        raise UsageError(f"--max-regress '{percent}' is no percentage", hint="write it as 5%")
    return float(found[1]) / 100


def _check_gates(report: BenchReport, max_ms: float | None, *, strict: bool) -> None:
    """Raises GateError for a model that is too slow, MeasurementError for doubts when `strict`."""
    slow = [m for m in report.models if max_ms is not None and m.latency_ms.p50 > max_ms]
    if strict:
        check_trust(report.reasons, report.cures)
    missed = [f"{m.file}: p50 {m.latency_ms.p50:.2f} ms is above {max_ms:g}" for m in slow]
    if report.baseline is not None:
        missed += [_slower_by(c, report.baseline) for c in _with(report.baseline, "regression")]
    if missed:
        raise GateError("; ".join(missed))
    unknown = _with(report.baseline, "unknown") if report.baseline else []
    if unknown:
        raise MeasurementError(
            "; ".join(f"{change.file} cannot be compared: {change.why}" for change in unknown),
            hint="; ".join(report.cures) or "run it again with --seconds 10",
        )


def _with(comparison: BaselineComparison, verdict: str) -> list[Change]:
    return [change for change in comparison.changes if change.verdict == verdict]


def _slower_by(change: Change, comparison: BaselineComparison) -> str:
    interval = f"95 % interval {change.low:+.1%} to {change.high:+.1%}"
    times = f"{change.old_ms:.2f} -> {change.new_ms:.2f} ms"
    limit = f"above the limit of {comparison.max_regress:.1%}"
    return f"{change.file}: {times}, {change.change:+.1%} ({interval}), {limit}"
