"""The tables of `detkit bench`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from detkit.cli import console

if TYPE_CHECKING:
    from detkit.report import BaselineComparison, BenchReport, Change, ModelLatency


def lines_of(report: BenchReport) -> list[str]:
    """Engine, end to end, throughput and baseline where there are, and the machine."""
    tables = [
        _engine_table(report.models),
        _throughput_table(report.models),
        _chain_table(report.models),
        _baseline_table(report.baseline),
    ]
    machine = report.fingerprint
    where = f"{machine['cpu']}, {machine['usable_cpus']} CPUs, on {report.images}"
    lines = [line for table in tables if table for line in (*table, "")]
    return [*lines, f"{where}; machine {machine['id']}"]


def _engine_table(models: Sequence[ModelLatency]) -> list[str]:
    headers = (
        "model", "engine", "precision", "size", "batch", "threads", "p50 ms", "95 % interval",
        "p90 ms", "p95 ms", "p99 ms", "ratio", "images/s",
    )  # fmt: skip
    return _without_empty_columns(
        (*headers, "copies ms", "mJ/image"), [_engine_row(model) for model in models]
    )


def _engine_row(model: ModelLatency) -> tuple[str, ...]:
    height, width = model.image_size
    times = model.latency_ms
    copies = model.clock == "device" and (model.upload_ms or 0) + (model.download_ms or 0)
    return (
        Path(model.file).name,
        model.runtime,
        model.precision,
        f"{height}x{width}",
        f"{model.batch}",
        f"{model.threads}",
        f"{times.p50:.2f}",
        f"{times.p50_low:.2f}-{times.p50_high:.2f}",
        *(f"{value:.2f}" for value in (times.p90, times.p95, times.p99)),
        f"{model.ratio_to_first:.3f}",
        f"{model.images_per_s:.1f}",
        f"{copies:.2f}" if copies else "",
        "" if model.energy_mj_per_image is None else f"{model.energy_mj_per_image:.1f}",
    )


def _throughput_table(models: Sequence[ModelLatency]) -> list[str]:
    rows = [
        (
            Path(model.file).name,
            f"{load.in_flight}",
            f"{load.images_per_s:.1f}",
            f"{load.images_per_s_low:.1f}-{load.images_per_s_high:.1f}",
        )
        for model in models
        if (load := model.throughput)
    ]
    headers = ("throughput", "in flight", "images/s", "95 % interval")
    return console.table(headers, rows) if rows else []


def _chain_table(models: Sequence[ModelLatency]) -> list[str]:
    headers = (
        "end to end, ms", "decode+letterbox", "upload", "engine", "download", "NMS",
        "total p50", "p90", "p95", "p99",
    )  # fmt: skip
    return _without_empty_columns(headers, [_chain_row(model) for model in models])


def _chain_row(model: ModelLatency) -> tuple[str, ...]:
    chain = model.end_to_end_ms
    stages = (chain.preprocess, chain.upload, chain.engine, chain.download, chain.nms)
    totals = (chain.total, chain.total_p90, chain.total_p95, chain.total_p99)
    cells = ("" if value is None else f"{value:.2f}" for value in (*stages, *totals))
    return (Path(model.file).name, *cells)


def _baseline_table(comparison: BaselineComparison | None) -> list[str]:
    if comparison is None:
        return []
    limit = f"limit {comparison.max_regress:+.1%}"
    headers = (f"baseline, {limit}", "old ms", "new ms", "change", "95 % interval", "verdict", "by")
    return console.table(headers, [_change_row(change) for change in comparison.changes])


def _change_row(change: Change) -> tuple[str, ...]:
    return (
        Path(change.file).name,
        f"{change.old_ms:.2f}",
        f"{change.new_ms:.2f}",
        f"{change.change:+.1%}",
        f"{change.low:+.1%} to {change.high:+.1%}",
        change.verdict,
        change.decided_by,
    )


def _without_empty_columns(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    kept = [i for i in range(len(headers)) if any(row[i] for row in rows)]
    return console.table([headers[i] for i in kept], [[row[i] for i in kept] for row in rows])
