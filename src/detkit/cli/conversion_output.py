"""What verbs that make one file from another have in common: its name, and what is printed."""

from __future__ import annotations

from pathlib import Path

from detkit.artifact.artifact import files_of
from detkit.artifact.outputs import check_output_file
from detkit.cli import console
from detkit.core.errors import UsageError
from detkit.report import ConversionReport


def output_path(
    out: Path | None, parent: Path, suffix: str, *, force: bool, read: Path | None = None
) -> Path:
    """`out`, or the parent's name with `suffix` beside it.

    Args:
        read: a folder that is read; nothing is written there.

    Raises:
        UsageError: it already exists and `force` was not given, or it is the parent itself, or a
            name that no verb would know the file by.
    """
    path = out or parent.with_name(parent.name.removesuffix(parent.suffix) + suffix)
    ending = Path(suffix).suffix or suffix
    if path.suffix != ending:
        raise UsageError(f"{path}: the name of this file must end in {ending}")
    if path.resolve() == parent.resolve():
        raise UsageError(f"{path} would overwrite itself", hint="-o another name")
    for file in files_of(path):
        check_output_file(file, force=force, read=filter(None, (parent, read)))
    return path


def emit_conversion(report: ConversionReport, *, json: bool) -> None:
    """The figures on stderr, the path (or the report) on stdout."""
    console.log(
        f"{report.parameters / 1e6:.2f} M parameters, {report.macs / 1e9:.2f} GMACs"
        f" ({2 * report.macs / 1e9:.2f} GFLOPs), {report.bytes / 1e6:.1f} MB"
    )
    if report.difference is not None:
        found = report.difference
        console.log(
            f"largest difference on {found.images} images ({found.source}):"
            f" score {found.score:.1e}, box {found.box_px:.1e} px"
        )
    for name, value in report.notes.items():
        console.log(f"{name.replace('_', ' ')}: {value}")
    if report.licence:
        console.log(f"licence of the weights: {report.licence}")
    for text in report.warnings:
        console.warn(text)
    console.emit(report, json=json, lines=[report.file])
