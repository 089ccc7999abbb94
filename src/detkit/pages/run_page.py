"""The page of a run folder: curves, classes, images, and the reports lying in the folder."""

from __future__ import annotations

import base64
from pathlib import Path

from markupsafe import Markup

from detkit.core.reading import bytes_of
from detkit.inspection.run_folder import Epoch, TrainingRun, read_run_folder
from detkit.pages.chart import Series, bar_chart, line_chart
from detkit.pages.page import Table, render_page
from detkit.report import BenchReport, ClassScore, ConversionReport, EvalReport, TrainReport

IMAGES = {
    "train_batch.jpg": "The first training images, as augmented",
    "val_detections.jpg": "Detections of the best checkpoint on validation images",
}
MAX_IMAGE_BYTES = 8 << 20
ONE_COLUMN = 12  # classes; more are drawn in two columns
SMALL = (420, 250)


def render_run(folder: Path) -> str:
    """The HTML text of a run folder, finished or not.

    Raises:
        ArtifactError: see `run_folder.read_run_folder`.
    """
    run = read_run_folder(folder)
    best = _best(run)
    values = {
        "state": _state(run),
        "origin": _origin(run),
        "unread": run.unread.values(),
        "figures": _figures(run),
        "curves": _curves(run),
        "best_epoch": best.number if best else 0,
        "classes": _class_charts(best),
        "images": _images(folder, run),
        "accuracy": _accuracy_table(run),
        "evaluations": _evaluations(run),
        "latencies": _latencies(run),
        "conversions": _conversions_table(run),
        "config": run.config.splitlines(),
    }
    return render_page("run.html", folder.resolve().name, values)


# --- the run -------------------------------------------------------------------------------------


def _state(run: TrainingRun) -> str:
    report = run.train_report
    if report is None:
        return f"This run has not ended; epochs so far: {len(run.epochs)}."
    return (
        f"{report.model} (architecture {report.arch_digest}) on {report.data}; "
        f"{report.epochs} epochs, {report.ending}."
    )


def _origin(run: TrainingRun) -> list[str]:
    """What the weights started from, are under, and are a mean of; nothing of unended runs."""
    report = run.train_report
    if report is None:
        return []
    lines = []
    if report.init not in ("", "none"):
        lines.append(
            f"Started from {report.init}: {report.weights_taken:.1%} of the weights and"
            f" {report.classes_known} classes taken."
        )
    if report.weights_source:
        licence = report.licence or "not stated"
        lines.append(f"Licence of the weights: {licence} (from: {report.weights_source}).")
    if report.averaged:
        line = report.averaged.line
        lines.append(f"{line[0].upper()}{line[1:]}.")
    return lines


def _figures(run: TrainingRun) -> list[tuple[str, str]]:
    """The figures at the top, each with its label."""
    best, report = _best(run), run.train_report
    figures = []
    if best is not None:
        figures.append((f"{best.values['ap']:.3f}", "best AP (0.50:0.95)"))
        if "ap50" in best.values:
            figures.append((f"{best.values['ap50']:.3f}", "AP50 at that epoch"))
        figures.append((str(best.number), f"best epoch of {len(run.epochs)}"))
    if report is not None:
        figures += [
            (_duration(report.seconds), "training time"),
            *_speed(report),
            (f"{report.images:,}", f"images, {report.boxes:,} boxes"),
            (f"{report.dropped_images:,}", f"images dropped, {report.dropped_boxes:,} boxes"),
        ]
    return figures


def _speed(report: TrainReport) -> list[tuple[str, str]]:
    """The two figures of speed, where something was trained."""
    if report.images_per_s is None or report.data_wait_share is None:
        return []
    return [
        (f"{report.images_per_s:.1f}", "images/s"),
        (f"{report.data_wait_share:.0%}", "of it waiting for data"),
    ]


def _curves(run: TrainingRun) -> list[tuple[Markup, str]]:
    """The charts over the epochs, each with the class that says its width."""
    if not run.epochs:
        return []
    best = _best(run)
    mark = None if best is None else float(best.number)
    accuracy = [_series(run, "AP", "ap"), _series(run, "AP50", "ap50")]
    losses = [
        _series(run, name, key)
        for name, key in (
            ("total", "loss"),
            ("class", "loss_cls"),
            ("IoU", "loss_iou"),
            ("DFL", "loss_dfl"),
        )
    ]
    small = (
        ("Learning rate", "", "lr"),
        ("Speed", "images/s", "images_per_s"),
        ("Waiting for data", "share of the time", "data_wait_share"),
    )
    return [
        (line_chart("Accuracy on validation", accuracy, mark_x=mark), "half"),
        (line_chart("Loss", losses), "half"),
        *(
            (line_chart(title, [_series(run, title, key)], unit=unit, size=SMALL), "third")
            for title, unit, key in small
        ),
    ]


def _class_charts(best: Epoch | None) -> list[Markup]:
    """AP of each class, best first, in two columns where there are many."""
    if best is None or not best.per_class:
        return []
    bars = sorted(best.per_class.items(), key=lambda item: (-(item[1] or 0), item[0]))
    half = (len(bars) + 1) // 2 if len(bars) > ONE_COLUMN else len(bars)
    columns = [dict(column) for column in (bars[:half], bars[half:]) if column]
    width = 640 if len(columns) > 1 else 760
    return [bar_chart("AP by class", column, width=width) for column in columns]


def _images(folder: Path, run: TrainingRun) -> list[tuple[str, str]]:
    """Caption and base64 of the images that lie in the folder and are not too large for a page."""
    return [
        (caption, base64.b64encode(bytes_of(folder / name)).decode())
        for name, caption in IMAGES.items()
        if name in run.files and (folder / name).stat().st_size <= MAX_IMAGE_BYTES
    ]


# --- reports lying in the folder -----------------------------------------------------------------


def _accuracy_table(run: TrainingRun) -> Table:
    keys = (
        "ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large",
        "ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large",
    )  # fmt: skip
    rows = [
        (item.model, item.runtime, item.split, *(_share(getattr(item, key)) for key in keys))
        for item in run.reports.values()
        if isinstance(item, EvalReport)
    ]
    headers = ("model", "engine", "split", *(_figure_name(key) for key in keys))
    return Table(headers, rows)


def _evaluations(run: TrainingRun) -> list[tuple[str, Table]]:
    """The classes of every evaluation, each with its caption."""
    return [
        (f"{name}: {item.model}", _class_table(item.per_class))
        for name, item in run.reports.items()
        if isinstance(item, EvalReport)
    ]


def _class_table(scores: dict[str, ClassScore]) -> Table:
    headers = ("class", "boxes", "AP", "AP50", "precision", "recall", "F1", "at confidence")
    rows = [
        (
            name,
            f"{score.boxes:,}",
            *map(_share, (score.ap, score.ap50, score.precision, score.recall, score.f1)),
            _share(score.confidence),
        )
        for name, score in scores.items()
    ]
    return Table(headers, rows)


def _latencies(run: TrainingRun) -> list[tuple[str, str, Table]]:
    """Every bench report: where it was measured, why it is unreliable, its models."""
    return [
        (
            f"{name}: {', '.join(f'{key} {value}' for key, value in item.fingerprint.items())}",
            "" if item.valid else f"unreliable: {'; '.join(item.warnings)}",
            _bench_table(item),
        )
        for name, item in run.reports.items()
        if isinstance(item, BenchReport)
    ]


def _bench_table(report: BenchReport) -> Table:
    headers = (
        "model", "engine", "precision", "input", "batch", "threads",
        "p50 ms", "p90 ms", "p99 ms", "end to end ms", "images/s", "ratio",
    )  # fmt: skip
    rows = [
        (
            item.file, item.runtime, item.precision, "x".join(map(str, item.image_size)),
            str(item.batch), str(item.threads), f"{item.latency_ms.p50:.2f}",
            f"{item.latency_ms.p90:.2f}", f"{item.latency_ms.p99:.2f}",
            f"{item.end_to_end_ms.total:.2f}", f"{item.images_per_s:.1f}",
            f"{item.ratio_to_first:.2f}",
        )
        for item in report.models
    ]  # fmt: skip
    return Table(headers, rows)


def _conversions_table(run: TrainingRun) -> Table:
    reports = [item for item in run.reports.values() if isinstance(item, ConversionReport)]
    headers = (
        "file", "made from", "parameters", "GMACs", "MB", "score differs", "box differs px",
        "licence",
    )  # fmt: skip
    rows = [
        (
            item.file,
            item.parent,
            f"{item.parameters:,}",
            f"{item.macs / 1e9:.2f}",
            f"{item.bytes / 1e6:.1f}",
            f"{item.difference.score:.1e}" if item.difference else "-",
            f"{item.difference.box_px:.1e}" if item.difference else "-",
            item.licence or "not stated",
        )
        for item in reports
    ]
    return Table(headers, rows)


# --- pieces --------------------------------------------------------------------------------------


def _best(run: TrainingRun) -> Epoch | None:
    scored = [epoch for epoch in run.epochs if "ap" in epoch.values]
    return max(scored, key=lambda epoch: epoch.values["ap"], default=None)


def _series(run: TrainingRun, name: str, key: str) -> Series:
    points = [(float(e.number), e.values[key]) for e in run.epochs if key in e.values]
    return Series(name, tuple(points))


def _figure_name(key: str) -> str:
    """`ap_small` as "AP small"."""
    return key[:2].upper() + key[2:].replace("_", " ")


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
