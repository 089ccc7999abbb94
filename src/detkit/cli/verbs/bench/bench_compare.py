"""`detkit bench --compare`: named architectures side by side, before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from detkit.cli import console
from detkit.cli.report_output import check_report_file, emit_report
from detkit.cli.verbs.bench.bench_files import check_trust, tell_doubts
from detkit.cli.verbs.bench.bench_flags import BenchFlags

if TYPE_CHECKING:
    from detkit.report import ComparedModel, CompareReport

PRECISIONS = "fp32,int8"
MAX_RUNS = 100  # the largest take seconds for each
CHAIN_RUNS = 3
NOTE = (
    "Weights are untrained: this compares size and latency. AP published is that of the authors'"
    " own weights on COCO, and is not measured here."
)


def compare(flags: BenchFlags) -> None:
    from detkit.compare import compare as measure_models
    from detkit.spec.arch import parse_image_size
    from detkit.timing.measure import Plan

    check_report_file(flags.out, force=flags.force)
    runs = min(flags.runs, MAX_RUNS)
    report = measure_models(
        [str(model) for model in flags.models],
        image_size=parse_image_size(flags.imgsz) if flags.imgsz else None,
        precisions=tuple((flags.precision or PRECISIONS).split(",")),
        runtime=flags.runtime,
        placement=flags.placement,
        plan=Plan(min_seconds=flags.seconds, min_runs=runs, chain_runs=CHAIN_RUNS),
        batch=flags.batch,
        data=flags.data,
        tell=console.log,
    )
    emit_report(report, flags.out, json=flags.json, lines=_lines(report))
    tell_doubts(report.reasons, report.cures)
    if flags.strict:
        check_trust(report.reasons, report.cures)


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
