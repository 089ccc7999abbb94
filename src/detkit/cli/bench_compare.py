"""`detkit bench --compare`: named architectures side by side, before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from detkit.cli import console
from detkit.cli.report_file import check_report_file, emit_report
from detkit.errors import MeasurementError

if TYPE_CHECKING:
    from detkit.bench.measure import Plan
    from detkit.report import ComparedModel, CompareReport
    from detkit.runtime import Placement

PRECISIONS = "fp32,int8"
NOTE = (
    "Weights are untrained: this compares size and latency. AP published is that of the authors'"
    " own weights on COCO, and is not measured here."
)


def run_comparison(
    models: Sequence[Path],
    *,
    imgsz: str,
    precision: str,
    runtime: str,
    placement: Placement,
    plan: Plan,
    batch: int,
    data: Path | None,
    strict: bool,
    out: Path | None,
    force: bool,
    json: bool,
) -> None:
    from detkit.compare import compare
    from detkit.spec.arch import parse_image_size

    check_report_file(out, force=force)
    report = compare(
        [str(model) for model in models],
        image_size=parse_image_size(imgsz) if imgsz else None,
        precisions=tuple((precision or PRECISIONS).split(",")),
        runtime=runtime,
        placement=placement,
        plan=plan,
        batch=batch,
        data=data,
        tell=console.log,
    )
    emit_report(report, out, json=json, lines=_lines(report))
    for reason in report.reasons:
        console.warn(f"not to be trusted: {reason}")
    for cure in report.cures:
        console.log(f"hint: {cure}")
    if strict and not report.valid:
        raise MeasurementError(
            "the times cannot be trusted: " + "; ".join(report.reasons),
            hint="; ".join(report.cures),
        )


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
    return (*cells, "-" if model.ap_published is None else f"{model.ap_published:.3f}")
