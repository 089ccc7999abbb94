"""`detkit advise`: in which precision, on which engine, to ship a checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from detkit.cli import console
from detkit.cli.options import Force, Json, MaxMs, Out, Quiet, Threads, Verbose

if TYPE_CHECKING:
    from detkit.report import AdviceReport, Variant

EXAMPLES = {
    "advise": (
        "detkit advise best.safetensors --data coco/",
        "detkit advise best.safetensors --data coco/ --max-drop 0.5 --max-ms 20 -o advice.json",
    ),
}


def advise(
    checkpoint: Annotated[Path, typer.Argument(help="Float checkpoint.")],
    data: Annotated[Path, typer.Option("--data", help="COCO folder to calibrate and score on.")],
    max_ms: MaxMs = None,
    max_drop: Annotated[
        float, typer.Option("--max-drop", min=0, help="Points of AP that may be lost.")
    ] = 0.5,
    threads: Threads = 0,
    out: Out = None,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Say in which precision, on which engine, to ship a checkpoint.

    Quantizes it, scores every variant that runs here on the validation split, times all in turns,
    and says which to ship with the commands that make it. Exits with 3 if none meets the limits.
    """
    console.setup(quiet, verbose)
    from detkit.advise.recommend import VariantLimits
    from detkit.advise.run import AdviseRequest, find_advice
    from detkit.cli.reliability_output import print_warnings
    from detkit.cli.report_output import check_report_file, emit_report
    from detkit.core.errors import GateError

    check_report_file(out, force=force, read=(checkpoint, data))
    limits = VariantLimits(max_drop=max_drop, max_ms=max_ms)
    request = AdviseRequest(checkpoint=checkpoint, data=data, limits=limits, threads=threads)
    report = find_advice(request, console.log, console.warn)
    emit_report(report, out, json=json, lines=_lines(report))
    for what, why in report.absent.items():
        console.detail(f"{what}: {why}")
    print_warnings(report.warnings, ())
    if report.chosen is None:
        raise GateError(report.advice)


def _lines(report: AdviceReport) -> list[str]:
    header = (
        "engine",
        "precision",
        "AP",
        "drop",
        "noise",
        "ms",
        "of float",
        "from",
        "to",
        "MB",
        "",
    )
    rows = [_row(variant, index == report.chosen) for index, variant in enumerate(report.variants)]
    advice = [] if report.chosen is None else ["", report.advice, *report.commands]
    return [*console.table(header, rows), *advice]


def _row(variant: Variant, chosen: bool) -> tuple[str, ...]:
    return (
        variant.runtime,
        variant.precision,
        f"{variant.ap:.4f}",
        f"{variant.drop:+.2f}",
        "-" if variant.drop_noise is None else f"{variant.drop_noise:.2f}",
        f"{variant.latency_ms:.2f}",
        *(f"{ratio:.3f}" for ratio in (variant.ratio, variant.ratio_low, variant.ratio_high)),
        f"{variant.bytes / 1e6:.2f}",
        "<" if chosen else variant.rejected,
    )
