"""The page of a finished search: every trial and the front in an image, the front as a table."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite
from pathlib import Path

from markupsafe import Markup

from detkit.pages.chart import Series, line_chart, scatter_chart
from detkit.pages.page import Table, render_page
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
    values = {
        "report": report,
        "whence": _whence(report),
        "charts": charts,
        "front": _front_table(report),
    }
    return render_page("search.html", f"search {report.space}", values)


def _scatter(
    report: SearchReport,
    trials: Sequence[Mapping[str, float]],
    named: Mapping[str, Mapping[str, float]],
) -> Markup:
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


def _whence(report: SearchReport) -> str:
    if report.latency_profile:
        name = Path(report.latency_profile).name
        return f"predicted from {name} where an error stands beside it, else measured"
    return f"least time of an image, on {report.fingerprint.get('cpu', 'this machine')}"


def _shown_ms(point: ParetoPoint) -> str:
    """The latency of a point, with its error where it is predicted."""
    error = "" if point.measured else f" +- {point.latency_error:.0%}"
    return f"{point.latency_ms:.2f}{error}"


def _front_table(report: SearchReport) -> Table:
    rows = [
        (
            point.name,
            point.digest,
            "-" if point.ap is None else f"{point.ap:.4f}",
            f"{point.score:.4f}",
            _shown_ms(point),
            f"{point.parameters / 1e6:.2f}",
            f"{point.macs / 1e9:.2f}",
        )
        for point in report.pareto
    ]
    headers = ("name", "digest", "AP", "score", "ms", "M parameters", "GMACs")
    return Table(headers, rows)
