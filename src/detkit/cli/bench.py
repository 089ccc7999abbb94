"""`detkit bench`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from detkit.cli import console
from detkit.cli.bench_table import lines_of
from detkit.cli.options import Device, Force, Json, Out, Quiet, Runtime, Threads, Verbose
from detkit.cli.report_file import check_report_file, emit_report
from detkit.errors import GateError, MeasurementError, UsageError

if TYPE_CHECKING:
    from detkit.report import BaselineComparison, BenchReport, Change

EXAMPLES = {
    "bench": (
        "detkit bench best.fused.safetensors det.onnx --threads 1",
        "detkit bench det.onnx --baseline bench.json --max-regress 5%",
    ),
}
PERCENT = re.compile(r"(\d+(?:\.\d+)?) ?%")
MAX_REGRESS = "5%"


def bench(
    models: Annotated[list[Path], typer.Argument(metavar="MODEL", help="Checkpoints or exports.")],
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Folder of pictures; else the training data, or drawn ones."),
    ] = None,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Pictures a run.")] = 1,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0, help="Seconds of timing a model, at least.")
    ] = 3.0,
    runs: Annotated[
        int, typer.Option("--runs", min=10, help="Timed runs of a model, at least.")
    ] = 200,
    max_ms: Annotated[
        float | None, typer.Option("--max-ms", min=0, help="Exit 3 if an engine's p50 is above.")
    ] = None,
    scenario: Annotated[
        Literal["latency", "throughput"],
        typer.Option("--scenario", help="One batch at a time, or several in flight."),
    ] = "latency",
    baseline: Annotated[
        Path | None,
        typer.Option("--baseline", metavar="FILE", help="Earlier report to compare with."),
    ] = None,
    max_regress: Annotated[
        str | None,
        typer.Option(
            "--max-regress",
            metavar="PERCENT",
            help=f"Exit 3 if surely slower than the baseline by more; {MAX_REGRESS} if not given.",
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit 5 if the times cannot be trusted.")
    ] = False,
    runtime: Runtime = "",
    device: Device = "cpu",
    threads: Threads = 0,
    out: Out = None,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Time models here, interleaved; compare with a baseline.

    Several models take turns, and their ratios compare neighbouring blocks. End to end goes from a
    picture file to detections: decode + letterbox, engine, NMS. With --threads 0 every engine gets
    all CPUs this process may use; with --scenario throughput each batch in flight gets one. The
    raw times are in the JSON report (--json, -o). A later run can take it as its --baseline: that
    exits with 3 if a model has become slower, and with 5 if it cannot be told.
    """
    console.setup(quiet, verbose)
    if max_regress is not None and baseline is None:
        raise UsageError("--max-regress needs a --baseline to compare with")
    limit = _share(max_regress or MAX_REGRESS)
    from detkit.bench.baseline import read_baseline
    from detkit.bench.measure import Plan
    from detkit.bench.run import bench as measure_models
    from detkit.runtime import Placement

    check_report_file(out, force=force)
    report = measure_models(
        models,
        runtime=runtime,
        placement=Placement(device=device, threads=threads),
        batch=batch,
        plan=Plan(min_seconds=seconds, min_runs=runs, chain_runs=min(runs, 50)),
        data=data,
        scenario=scenario,
        baseline=read_baseline(baseline, limit) if baseline else None,
        tell=console.log,
    )
    emit_report(report, out, json=json, lines=lines_of(report))
    for reason in report.reasons:
        console.warn(f"not to be trusted: {reason}")
    for cure in report.cures:
        console.log(f"hint: {cure}")
    _check_gates(report, max_ms, strict=strict)


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
    if strict and not report.valid:
        raise MeasurementError(
            "the times cannot be trusted: " + "; ".join(report.reasons),
            hint="; ".join(report.cures),
        )
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
