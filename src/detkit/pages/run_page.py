"""One self-contained HTML page of a run folder: no scripts, no links out, all text escaped."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from pathlib import Path

from detkit.artifact.artifact import versions
from detkit.inspection.run_folder import Epoch, Run, read_run
from detkit.pages.chart import Series, bar_chart, line_chart, text
from detkit.report import BenchReport, ClassScore, ConversionReport, EvalReport

IMAGES = {
    "train_batch.jpg": "The first training images, as augmented",
    "val_detections.jpg": "Detections of the best checkpoint on validation images",
}
MAX_IMAGE_BYTES = 8 << 20
ONE_COLUMN = 12  # classes; more are drawn in two columns
SMALL = (420, 250)
NUMBER = re.compile(r"\d[\d.,e+-]*$|-$")
CELL_OF_WORDS = ' class="t"'

STYLE = """
:root { color-scheme: light dark; --page: #f6f7f9; --card: #fff; --ink: #1b1f24; --soft: #5c6670;
  --rule: #e3e7eb; --s0: #0b6fb8; --s1: #d1570c; --s2: #12805c; --s3: #a33f8f; --s4: #8a6d00;
  --s5: #4b5563; --bad: #b42318; }
@media (prefers-color-scheme: dark) { :root { --page: #0f1317; --card: #171c22; --ink: #e6e9ec;
  --soft: #98a3ae; --rule: #2a323a; --s0: #58b0f0; --s1: #f59152; --s2: #4cc79b; --s3: #dd8bcd;
  --s4: #e0c04a; --s5: #a9b3bd; --bad: #ff8a7a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 32px 24px 48px; }
h1 { font-size: 26px; line-height: 1.2; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 17px; margin: 36px 0 12px; }
p, figcaption, footer { color: var(--soft); margin: 0; overflow-wrap: anywhere; }
.grid { display: grid; gap: 16px; grid-template-columns: repeat(6, 1fr); }
.card { background: var(--card); border: 1px solid var(--rule); border-radius: 10px;
  padding: 16px 18px; margin: 0; min-width: 0; }
.half { grid-column: span 3; } .third { grid-column: span 2; } .full { grid-column: 1 / -1; }
@media (max-width: 860px) { .half, .third { grid-column: 1 / -1; } }
.figures { display: grid; gap: 12px; margin: 24px 0 16px;
  grid-template-columns: repeat(4, 1fr); }
@media (max-width: 620px) { .figures { grid-template-columns: repeat(2, 1fr); } }
.figures .card { padding: 12px 16px; }
.figures b { display: block; font-size: 24px; font-weight: 650; line-height: 1.25;
  font-variant-numeric: tabular-nums; }
.figures span { color: var(--soft); font-size: 13px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px;
  font-variant-numeric: tabular-nums; }
th, td { padding: 6px 12px 6px 0; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--rule); }
th { color: var(--soft); font-weight: 500; } tr:last-child td { border-bottom: 0; }
th.t, td.t { text-align: left; } .card > p + .scroll { margin-top: 8px; }
pre { overflow-x: auto; font-size: 13px; line-height: 1.45; margin: 12px 0 0; }
summary { cursor: pointer; font-weight: 600; }
img, svg { display: block; width: 100%; height: auto; } img { border-radius: 6px; }
.full > svg { max-width: 760px; }
figcaption { font-size: 13px; margin-top: 8px; }
footer { margin-top: 36px; font-size: 13px; }
.bad { color: var(--bad); }
svg text { fill: var(--ink); font-size: 12px; font-family: inherit; }
svg .title { font-size: 15px; font-weight: 600; }
svg .tick { fill: var(--soft); font-weight: 400; font-size: 12px; }
svg .label { font-weight: 600; paint-order: stroke; stroke: var(--card); stroke-width: 4px; }
svg .end { text-anchor: end; } svg .middle { text-anchor: middle; }
svg .grid { stroke: var(--rule); } svg .axis { stroke: var(--soft); }
svg .mark { stroke: var(--soft); stroke-dasharray: 3 4; }
svg .bar { fill: var(--s0); } svg .track { fill: var(--rule); opacity: .55; }
svg g line, svg polyline { fill: none; stroke: currentColor; stroke-width: 2;
  stroke-linejoin: round; stroke-linecap: round; }
svg circle { fill: currentColor; }
.s0 { color: var(--s0); } .s1 { color: var(--s1); } .s2 { color: var(--s2); }
.s3 { color: var(--s3); } .s4 { color: var(--s4); } .s5 { color: var(--s5); }
"""

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def render_run(folder: Path) -> str:
    """The HTML text of a run folder, finished or not.

    Raises:
        ArtifactError: see `run_folder.read_run`.
    """
    run = read_run(folder)
    sections = [
        _header(folder, run),
        _figures(run),
        _charts(run),
        _classes(run),
        _images(folder, run),
        _accuracy(run),
        _latency(run),
        _conversions(run),
        _config(run),
        f"<footer>Made by detkit {text(versions()['detkit'])}</footer>",
    ]
    return html_page(folder.resolve().name, sections)


def html_page(title: str, sections: Sequence[str]) -> str:
    """The frame of every page: sections of ready HTML, empty ones left out; the title escaped."""
    body = "\n".join(section for section in sections if section)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{text(title)} - detkit</title>\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


# --- the run -------------------------------------------------------------------------------------


def _header(folder: Path, run: Run) -> str:
    report = run.train_report
    if report is None:
        state = f"This run has not ended; epochs so far: {len(run.epochs)}."
    else:
        state = (
            f"{report.model} (architecture {report.arch_digest}) on {report.data}; "
            f"epochs: {report.epochs}, stopped by {report.stopped_by}."
        )
    doubts = "".join(f'<p class="bad">not read: {text(why)}</p>' for why in run.unread.values())
    return f"<header><h1>{text(folder.resolve().name)}</h1><p>{text(state)}</p>{doubts}</header>"


def _figures(run: Run) -> str:
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
            (f"{report.images_per_s:.1f}", "images/s"),
            (f"{report.data_wait_share:.0%}", "of it waiting for data"),
            (f"{report.images:,}", f"images, {report.boxes:,} boxes"),
            (f"{report.dropped_images:,}", f"images dropped, {report.dropped_boxes:,} boxes"),
        ]
    cards = (
        f'<div class="card"><b>{text(value)}</b><span>{text(label)}</span></div>'
        for value, label in figures
    )
    return f'<div class="figures">{"".join(cards)}</div>'


def _charts(run: Run) -> str:
    if not run.epochs:
        return ""
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
    cards = [
        _card(line_chart("Accuracy on validation", accuracy, mark_x=mark), "half"),
        _card(line_chart("Loss", losses), "half"),
        *(
            _card(line_chart(title, [_series(run, title, key)], unit=unit, size=SMALL), "third")
            for title, unit, key in small
        ),
    ]
    return f'<div class="grid">{"".join(cards)}</div>'


def _classes(run: Run) -> str:
    best = _best(run)
    if best is None or not best.per_class:
        return ""
    bars = sorted(best.per_class.items(), key=lambda item: (-(item[1] or 0), item[0]))
    half = (len(bars) + 1) // 2 if len(bars) > ONE_COLUMN else len(bars)
    columns = [dict(column) for column in (bars[:half], bars[half:]) if column]
    width, place = (640, "half") if len(columns) > 1 else (760, "full")
    cards = [_card(bar_chart("AP by class", column, width=width), place) for column in columns]
    return f'<h2>AP by class, epoch {best.number}</h2><div class="grid">{"".join(cards)}</div>'


def _images(folder: Path, run: Run) -> str:
    figures = [
        f'<figure class="card half"><img alt="{text(caption)}" src="data:image/jpeg;base64,'
        f'{base64.b64encode((folder / name).read_bytes()).decode()}">'
        f"<figcaption>{text(caption)}</figcaption></figure>"
        for name, caption in IMAGES.items()
        if name in run.files and (folder / name).stat().st_size <= MAX_IMAGE_BYTES
    ]
    return f'<h2>Images</h2><div class="grid">{"".join(figures)}</div>' if figures else ""


def _config(run: Run) -> str:
    if not run.config:
        return ""
    lines = "\n".join(text(line) for line in run.config.splitlines())
    return (
        f'<h2>Settings</h2><details class="card"><summary>config.toml</summary>'
        f"<pre>{lines}</pre></details>"
    )


# --- reports lying in the folder -----------------------------------------------------------------


def _accuracy(run: Run) -> str:
    reports = {name: item for name, item in run.reports.items() if isinstance(item, EvalReport)}
    if not reports:
        return ""
    keys = (
        "ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large",
        "ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large",
    )  # fmt: skip
    rows = [
        (item.model, item.runtime, item.split, *(_share(getattr(item, key)) for key in keys))
        for item in reports.values()
    ]
    headers = ("model", "runtime", "split", *(_figure_name(key) for key in keys))
    tables = [_card(_table(headers, rows), "full")]
    tables += [
        _card(f"<p>{text(name)}: {text(item.model)}</p>{_class_table(item.per_class)}", "full")
        for name, item in reports.items()
    ]
    return f'<h2>Evaluations</h2><div class="grid">{"".join(tables)}</div>'


def _class_table(scores: dict[str, ClassScore]) -> str:
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
    return _table(headers, rows)


def _latency(run: Run) -> str:
    reports = {name: item for name, item in run.reports.items() if isinstance(item, BenchReport)}
    cards = [_card(_bench_table(name, item), "full") for name, item in reports.items()]
    return f'<h2>Latency</h2><div class="grid">{"".join(cards)}</div>' if cards else ""


def _bench_table(name: str, report: BenchReport) -> str:
    headers = (
        "model", "runtime", "precision", "input", "batch", "threads",
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
    machine = ", ".join(f"{key} {value}" for key, value in report.fingerprint.items())
    doubt = "" if report.valid else f"unreliable: {'; '.join(report.reasons)}"
    warning = f'<p class="bad">{text(doubt)}</p>' if doubt else ""
    return f"<p>{text(name)}: {text(machine)}</p>{warning}{_table(headers, rows)}"


def _conversions(run: Run) -> str:
    reports = [item for item in run.reports.values() if isinstance(item, ConversionReport)]
    headers = ("file", "made from", "parameters", "GMACs", "MB", "score differs", "box differs px")
    rows = [
        (
            item.file,
            item.parent,
            f"{item.parameters:,}",
            f"{item.macs / 1e9:.2f}",
            f"{item.bytes / 1e6:.1f}",
            f"{item.difference.score:.1e}" if item.difference else "-",
            f"{item.difference.box_px:.1e}" if item.difference else "-",
        )
        for item in reports
    ]
    if not rows:
        return ""
    return f'<h2>Conversions</h2><div class="card">{_table(headers, rows)}</div>'


# --- pieces --------------------------------------------------------------------------------------


def _best(run: Run) -> Epoch | None:
    scored = [epoch for epoch in run.epochs if "ap" in epoch.values]
    return max(scored, key=lambda epoch: epoch.values["ap"], default=None)


def _series(run: Run, name: str, key: str) -> Series:
    points = [(float(e.number), e.values[key]) for e in run.epochs if key in e.values]
    return Series(name, tuple(points))


def _card(content: str, classes: str) -> str:
    return f'<div class="card {classes}">{content}</div>\n'


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of words are set to the left, columns of numbers to the right."""
    words = [not all(NUMBER.match(row[i]) for row in rows) for i in range(len(headers))]
    lines = [_row("th", headers, words), *(_row("td", row, words) for row in rows)]
    return f'<div class="scroll"><table>\n{"".join(lines)}</table></div>'


def _row(tag: str, cells: Sequence[str], words: Sequence[bool]) -> str:
    parts = (
        f"<{tag}{CELL_OF_WORDS if word else ''}>{text(cell)}</{tag}>"
        for cell, word in zip(cells, words, strict=True)
    )
    return f"<tr>{''.join(parts)}</tr>\n"


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
