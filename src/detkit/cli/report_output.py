"""Reports of verbs that measure: on stdout and, with -o, in a file of the same bytes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from detkit.cli import console


def check_report_file(out: Path | None, *, force: bool, read: Iterable[Path | None] = ()) -> None:
    """Raises UsageError, before any work, where `out` may not be written; None is stdout alone.

    Args:
        read: what the verb reads; nothing is written there.
    """
    from detkit.artifact.outputs import check_output_file

    if out is not None:
        check_output_file(out, force=force, read=filter(None, read))


def emit_report(report: Any, out: Path | None, *, json: bool, lines: Sequence[str]) -> None:
    from detkit.artifact.writing import write_text
    from detkit.core.serialization import to_json

    if out is not None:
        write_text(out, to_json(report) + "\n")
    console.emit(report, json=json, lines=lines)
