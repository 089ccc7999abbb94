"""Limits that `detkit bench` holds its models against: `--max-ms`, `--max-regress`, `--strict`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from detkit.cli.reliability_output import check_reliable
from detkit.core.errors import GateError, MeasurementError, UsageError

if TYPE_CHECKING:
    from detkit.report import BaselineComparison, BenchReport, Change

PERCENT = re.compile(r"(\d+(?:\.\d+)?) ?%")


def check_limit_has_baseline(max_regress: str | None, baseline: Path | None) -> None:
    """Raises UsageError for a limit on becoming slower than nothing."""
    if max_regress is not None and baseline is None:
        raise UsageError("--max-regress needs a --baseline to compare with")


def share_of(percent: str) -> float:
    """0.05 of `5%`.

    Raises:
        UsageError: no percentage, or not between 0 and 100.
    """
    found = PERCENT.fullmatch(percent.strip())
    if not found or not 0 < float(found[1]) < 100:
        raise UsageError(f"--max-regress '{percent}' is no percentage", hint="write it as 5%")
    return float(found[1]) / 100


def check_gates(report: BenchReport, max_ms: float | None, *, strict: bool) -> None:
    """Raises GateError for a slow model, and MeasurementError for warnings when `strict`."""
    slow = [m for m in report.models if max_ms is not None and m.latency_ms.p50 > max_ms]
    if strict:
        check_reliable(report.warnings, report.remedies)
    missed = [f"{m.file}: p50 {m.latency_ms.p50:.2f} ms is above {max_ms:g}" for m in slow]
    if report.baseline is not None:
        missed += [_slower_by(c, report.baseline) for c in _with(report.baseline, "regression")]
    if missed:
        raise GateError("; ".join(missed))
    unknown = _with(report.baseline, "unknown") if report.baseline else []
    if unknown:
        raise MeasurementError(
            "; ".join(f"{change.file} cannot be compared: {change.why}" for change in unknown),
            hint="; ".join(report.remedies) or "run it again with --seconds 10",
        )


def _with(comparison: BaselineComparison, verdict: str) -> list[Change]:
    return [change for change in comparison.changes if change.verdict == verdict]


def _slower_by(change: Change, comparison: BaselineComparison) -> str:
    interval = f"95 % interval {change.low:+.1%} to {change.high:+.1%}"
    times = f"{change.old_ms:.2f} -> {change.new_ms:.2f} ms"
    limit = f"above the limit of {comparison.max_regress:.1%}"
    return f"{change.file}: {times}, {change.change:+.1%} ({interval}), {limit}"
