"""`detkit bench`: files timed in turns, and held against limits and a baseline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from detkit.cli import console
from detkit.cli.options import (
    Batch,
    Device,
    Force,
    Json,
    MaxMs,
    Out,
    OutputsOfEach,
    Quiet,
    Runs,
    Runtime,
    Seconds,
    Strict,
    Threads,
    TimedImages,
    Verbose,
)

EXAMPLES = {
    "bench": (
        "detkit bench best.fused.safetensors det.onnx --threads 1",
        "detkit bench det.onnx --baseline bench.json --max-regress 5%",
        "detkit bench det.onnx yolov8n.onnx --outputs yolov8 --scenario throughput",
    ),
}
MAX_REGRESS = "5%"

Models = Annotated[list[Path], typer.Argument(metavar="MODEL", help="Checkpoints or exports.")]
Scenario = Annotated[
    Literal["latency", "throughput"],
    typer.Option("--scenario", help="One batch at a time, or several in flight."),
]
Baseline = Annotated[
    Path | None, typer.Option("--baseline", metavar="FILE", help="Earlier report to compare with.")
]
MaxRegress = Annotated[
    str | None,
    typer.Option(
        "--max-regress",
        metavar="PERCENT",
        help="Exit 3 if surely slower than the baseline by more; 5% if not given.",
    ),
]


def bench(
    models: Models,
    data: TimedImages = None,
    batch: Batch = 1,
    seconds: Seconds = 3.0,
    runs: Runs = 200,
    max_ms: MaxMs = None,
    scenario: Scenario = "latency",
    baseline: Baseline = None,
    max_regress: MaxRegress = None,
    strict: Strict = False,
    outputs: OutputsOfEach = None,
    engine: Runtime = "",
    device: Device = "cpu",
    threads: Threads = 0,
    out: Out = None,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Time models here, interleaved; compare with a baseline.

    Several models take turns, and their ratios compare neighbouring blocks. End to end goes from an
    image file to detections: decode + letterbox, engine, NMS. With --threads 0 every engine gets
    all CPUs this process may use; with --scenario throughput each batch in flight gets one. The
    raw times are in the JSON report (--json, -o). A later run can take it as its --baseline: that
    exits with 3 if a model has become slower, and with 5 if it cannot be told. ONNX files of other
    tools are timed too, once --outputs says what they take and give.
    """
    console.setup(quiet, verbose)
    from detkit.bench.baseline import read_baseline
    from detkit.bench.run import time_models
    from detkit.cli.descriptions import descriptions_of
    from detkit.cli.reliability_output import print_warnings
    from detkit.cli.report_output import check_report_file, emit_report
    from detkit.cli.verbs.bench.gates import check_gates, check_limit_has_baseline, share_of
    from detkit.cli.verbs.bench.table import lines_of
    from detkit.runtime.session import SessionOptions
    from detkit.timing.plan import TimingPlan

    check_limit_has_baseline(max_regress, baseline)
    limit = share_of(max_regress or MAX_REGRESS)
    check_report_file(out, force=force, read=(*models, data, baseline))
    report = time_models(
        tuple(models),
        engine=engine,
        session_options=SessionOptions(device=device, threads=threads),
        batch=batch,
        plan=TimingPlan(min_seconds=seconds, min_runs=runs),
        data=data,
        descriptions=descriptions_of(tuple(outputs or ()), tuple(models)),
        scenario=scenario,
        baseline=read_baseline(baseline, limit) if baseline else None,
        log=console.log,
    )
    emit_report(report, out, json=json, lines=lines_of(report))
    print_warnings(report.warnings, report.remedies)
    check_gates(report, max_ms, strict=strict)
