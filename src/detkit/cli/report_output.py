"""Reports of verbs that measure: on stdout and, with -o, in a file of the same bytes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from detkit.cli import console
from detkit.core.errors import UsageError


def check_report_file(out: Path | None, *, force: bool) -> None:
    """Raises UsageError, before any work, where `out` is a folder, or is there and not forced."""
    if out is None:
        return
    if out.is_dir():
        raise UsageError(f"{out} is a folder", hint="-o the name of a file")
    if out.exists() and not force:
        raise UsageError(f"{out} already exists", hint="pass --force to overwrite")


def emit_report(report: Any, out: Path | None, *, json: bool, lines: Sequence[str]) -> None:
    from detkit.artifact.artifact import write_text
    from detkit.core.serialization import to_json

    if out is not None:
        write_text(out, to_json(report) + "\n")
    console.emit(report, json=json, lines=lines)
