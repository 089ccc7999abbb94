"""The page of a finished search: every trial and the front in an image, the front as a table."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from pathlib import Path

from detkit.artifact.artifact import versions
from detkit.pages.chart import Series, line_chart, scatter_chart, text
from detkit.pages.run_page import html_page
from detkit.report import ParetoPoint, SearchReport

COST_LABELS = {
    "latency_ms": ("ms an image", 1.0),
    "macs": ("GMACs", 1e9),
    "parameters": ("million parameters", 1e6),
}


def render_search(
    report: SearchReport,
    trials: Sequence[Mapping[str, float]],
    named: Mapping[str, Mapping[str, float]],
    volumes: Sequence[float],
) -> str:
    """HTML of a report.

    Args:
        trials: the figures of all trials.
        named: those of the family's own members among them, by name.
        volumes: the hypervolume after each trial.
    """
    progress = Series("hypervolume", tuple(enumerate(volumes, 1)))
    charts = (
        _scatter(report, trials, named),
        line_chart("Hypervolume of the front", [progress], x_label="trials", size=(760, 260)),
    )
    cards = "".join(f'<figure class="card full">{chart}</figure>' for chart in charts)
    return html_page(
        f"search {report.space}",
        [
            _header(report),
            f'<div class="grid">{cards}</div>',
            _table(report),
            f"<footer>Made by detkit {text(versions()['detkit'])}</footer>",
        ],
    )


def _scatter(
    report: SearchReport,
    trials: Sequence[Mapping[str, float]],
    named: Mapping[str, Mapping[str, float]],
) -> str:
    label, unit = COST_LABELS[report.cost]

    def series(name: str, figures: Iterable[Mapping[str, float]], labels: Iterable[str]) -> Series:
        pairs = [(f[report.cost] / unit, f["score"]) for f in figures]
        known = sorted((p, n) for p, n in zip(pairs, labels, strict=False) if all(map(isfinite, p)))
        return Series(name, tuple(p for p, _ in known), tuple(n for _, n in known))

    front = tuple((_cost(p, report.cost) / unit, p.score) for p in report.pareto)
    groups = [
        series("trials", trials, itertools.repeat("")),
        Series("front", front),
        series("named architectures", named.values(), named),
    ]
    return scatter_chart(
        "Score and cost of every architecture tried",
        [group for group in groups if group.points],
        unit=report.evaluator,
        x_label=label,
        joined="front",
        log_x=True,
    )


def _cost(point: ParetoPoint, cost: str) -> float:
    return {
        "latency_ms": point.latency_ms,
        "macs": float(point.macs),
        "parameters": float(point.parameters),
    }[cost]


def _header(report: SearchReport) -> str:
    lines = (
        f"{report.trials} trials by {report.searcher} among {report.space_size:.3g} architectures;"
        f" {report.over_limit} over a limit, {report.failed} failed",
        f"latency: {report.runtime}, {report.precision}, {report.threads} threads,"
        f" {_whence(report)}{_limit(report)}",
    )
    shown = "".join(f"<p>{text(line)}</p>" for line in lines)
    return f"<h1>Search in {text(report.space)}</h1>{shown}"


def _whence(report: SearchReport) -> str:
    if report.latency_profile:
        name = Path(report.latency_profile).name
        return f"predicted from {name} where an error stands beside it, else measured"
    return f"least time of an image, on {report.fingerprint.get('cpu', 'this machine')}"


def _limit(report: SearchReport) -> str:
    return f"; {report.max_latency_ms:g} ms at most" if report.max_latency_ms else ""


def _shown_ms(point: ParetoPoint) -> str:
    """With its error where it is predicted."""
    error = "" if point.measured else f" +- {point.latency_error:.0%}"
    return f"{point.latency_ms:.2f}{error}"


def _table(report: SearchReport) -> str:
    rows = "".join(
        f'<tr><td class="t">{text(point.name)}</td><td class="t">{text(point.digest)}</td>'
        f"<td>{'-' if point.ap is None else f'{point.ap:.4f}'}</td><td>{point.score:.4f}</td>"
        f"<td>{_shown_ms(point)}</td><td>{point.parameters / 1e6:.2f}</td>"
        f"<td>{point.macs / 1e9:.2f}</td></tr>"
        for point in report.pareto
    )
    heads = ("AP", "score", "ms", "M parameters", "GMACs")
    head = '<th class="t">name</th><th class="t">digest</th>' + "".join(
        f"<th>{name}</th>" for name in heads
    )
    return f'<h2>The front</h2><div class="card scroll"><table><tr>{head}</tr>{rows}</table></div>'
