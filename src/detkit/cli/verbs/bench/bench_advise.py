"""`detkit bench CHECKPOINT --advise`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detkit.cli import console
from detkit.cli.report_output import check_report_file, emit_report
from detkit.cli.verbs.bench.bench_files import tell_doubts
from detkit.cli.verbs.bench.bench_flags import BenchFlags
from detkit.core.errors import GateError, UsageError

if TYPE_CHECKING:
    from detkit.report import AdviceReport, Form


def advise(flags: BenchFlags) -> None:
    """Prints the table and the advice; GateError where no form meets the limits."""
    if len(flags.models) != 1:
        raise UsageError("--advise is about one checkpoint")
    if flags.data is None:
        raise UsageError("no images to score on", hint="--data a COCO folder")
    check_report_file(flags.out, force=flags.force)
    from detkit.advise.recommend import Limits
    from detkit.advise.run import Question
    from detkit.advise.run import advise as find_advice

    question = Question(
        checkpoint=flags.models[0],
        data=flags.data,
        limits=Limits(max_drop=flags.max_drop, max_ms=flags.max_ms),
        threads=flags.threads,
    )
    report = find_advice(question, console.log)
    emit_report(report, flags.out, json=flags.json, lines=_lines(report))
    for what, why in report.absent.items():
        console.detail(f"{what}: {why}")
    tell_doubts(report.reasons, ())
    if report.chosen is None:
        raise GateError(report.advice)


def _lines(report: AdviceReport) -> list[str]:
    header = (
        "runtime",
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
    rows = [_row(form, index == report.chosen) for index, form in enumerate(report.forms)]
    advice = [] if report.chosen is None else ["", report.advice, *report.commands]
    return [*console.table(header, rows), *advice]


def _row(form: Form, chosen: bool) -> tuple[str, ...]:
    return (
        form.runtime,
        form.precision,
        f"{form.ap:.4f}",
        f"{form.drop:+.2f}",
        f"{form.drop_noise:.2f}",
        f"{form.latency_ms:.2f}",
        *(f"{ratio:.3f}" for ratio in (form.ratio, form.ratio_low, form.ratio_high)),
        f"{form.bytes / 1e6:.2f}",
        "<" if chosen else form.rejected,
    )
