"""`detkit checks`: what to put into a bug report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detkit.cli import console
from detkit.cli.options import Json

if TYPE_CHECKING:
    from detkit.report import ChecksReport, EngineCheck

EXAMPLES = {
    "checks": (
        "detkit checks --json > checks.json",
        "detkit checks --json | jq -r '.warnings[]'",
    )
}
MACHINE = ("cpu", "usable_cpus", "memory_gib", "gpu", "board", "power_mode", "kernel", "id")


def checks(json: Json = False) -> None:
    """Say what this installation can do here: versions, engines, CPU, GPU, disk, known faults.

    For bug reports. Every engine that is installed is loaded in a process of its own. Warnings name
    versions that are known to be slow or were never measured; the exit code is 0 all the same.
    """
    from detkit.checks import check_installation

    report = check_installation()
    console.emit(report, json=json, lines=describe(report))
    for text in report.warnings:
        console.warn(text)


def describe(report: ChecksReport) -> list[str]:
    """Aligned lines for a terminal: versions, the machine, a table of engines, the disk."""
    machine = report.machine
    rows = [
        *((name, version or "not installed") for name, version in report.packages.items()),
        *((name, machine[name]) for name in MACHINE if name in machine),
        ("vectors", ", ".join(report.vector_instructions)),
        ("int8", ", ".join(report.int8_instructions) or "no dot products"),
        *((f"free in {folder}", f"{free:g} GB") for folder, free in report.disk_free_gb.items()),
        *report.environment.items(),
    ]
    width = max(len(name) for name, _ in rows) + 2
    engines = console.table(
        ["engine", "package", "version", "state", "precisions", "INT8 measured on"],
        [_engine_row(engine) for engine in report.engines],
    )
    return [*(f"{name:<{width}}{text}" for name, text in rows if text), "", *engines]


def _engine_row(engine: EngineCheck) -> list[str]:
    measured = " to ".join(engine.measured) if engine.measured else ""
    precisions = ", ".join(engine.precisions)
    return [engine.name, engine.package, engine.version, engine.state, precisions, measured]
