"""`detkit compare`: named architectures side by side, before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from detkit.cli import console
from detkit.cli.options import (
    Batch,
    Device,
    Force,
    Json,
    Out,
    Quiet,
    Runs,
    Runtime,
    Seconds,
    Strict,
    Threads,
    TimedImages,
    UntrainedSize,
    Verbose,
)

if TYPE_CHECKING:
    from detkit.report import ComparedModel, CompareReport

EXAMPLES = {
    "compare": (
        "detkit compare yolo-nas-s yolov8-m yolov7-x --imgsz 640",
        "detkit compare yolo-nas-n mine.json --precision int8 --threads 1 -o compare.json",
    ),
}
PRECISIONS = "fp32,int8"
CHAIN_RUNS = 3
NOTE = (
    "Weights are untrained: this compares size and latency. AP published is that of the authors'"
    " own weights on COCO, and is not measured here."
)


def compare(
    names: Annotated[
        list[str], typer.Argument(metavar="MODEL", help="Architectures, or their JSON files.")
    ],
    data: TimedImages = None,
    imgsz: UntrainedSize = "",
    precision: Annotated[
        str, typer.Option("--precision", help="fp32 or int8, or both with a comma between.")
    ] = PRECISIONS,
    batch: Batch = 1,
    seconds: Seconds = 3.0,
    runs: Runs = 100,
    strict: Strict = False,
    engine: Runtime = "",
    device: Device = "cpu",
    threads: Threads = 0,
    out: Out = None,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Set architectures side by side, untrained: size and latency on this machine.

    Prints parameters, multiply-adds, file sizes, and the latency of each in turns with the others;
    ratios are to the first. Weights are untrained, so nothing is said of AP but what the authors
    published.
    """
    console.setup(quiet, verbose)
    from detkit.cli.reliability_output import check_reliable, print_warnings
    from detkit.cli.report_output import check_report_file, emit_report
    from detkit.compare import compare_architectures
    from detkit.runtime.session import SessionOptions
    from detkit.spec.arch import parse_image_size
    from detkit.timing.plan import TimingPlan

    check_report_file(out, force=force, read=(data,))
    report = compare_architectures(
        names,
        image_size=parse_image_size(imgsz) if imgsz else None,
        precisions=tuple(precision.split(",")),
        engine=engine,
        session_options=SessionOptions(device=device, threads=threads),
        plan=TimingPlan(min_seconds=seconds, min_runs=runs, max_chain_runs=CHAIN_RUNS),
        batch=batch,
        data=data,
        log=console.log,
    )
    emit_report(report, out, json=json, lines=_lines(report))
    print_warnings(report.warnings, report.remedies)
    if strict:
        check_reliable(report.warnings, report.remedies)


def _lines(report: CompareReport) -> list[str]:
    first = report.models[0].files[0].measured
    precisions = [file.measured.precision for file in report.models[0].files]
    height, width = report.image_size
    machine = report.fingerprint
    return [
        *console.table(_headers(precisions), [_row(model) for model in report.models]),
        "",
        f"{height}x{width}, batch {first.batch}, {first.runtime}, {first.threads} threads,"
        f" {machine['cpu']}; machine {machine['id']}",
        NOTE,
    ]


def _headers(precisions: Sequence[str]) -> tuple[str, ...]:
    columns = ["model", "M params", "GMACs", "GFLOPs"]
    for precision in precisions:
        columns += [f"{precision} ms", "ratio", "MB"]
    if {"fp32", "int8"} <= set(precisions):
        columns.append("int8/fp32")
    return (*columns, "AP published")


def _row(model: ComparedModel) -> tuple[str, ...]:
    cells = [
        model.name,
        *(
            f"{value:.2f}"
            for value in (model.parameters / 1e6, model.macs / 1e9, model.flops / 1e9)
        ),
    ]
    for file in model.files:
        times = file.measured.latency_ms
        cells += [
            f"{times.p50:.1f}",
            f"{file.ratio_to_first:.2f}",
            f"{file.measured.bytes / 1e6:.1f}",
        ]
    speedups = [f.ratio_to_fp32 for f in model.files if f.measured.precision == "int8"]
    cells += [f"{ratio:.2f}" for ratio in speedups if ratio is not None]
    return (*cells, "-" if model.ap_published is None else f"{model.ap_published:.4f}")
