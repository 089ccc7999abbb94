"""Reading what the kernel shows, under a root folder so that a recorded tree reads the same."""

from __future__ import annotations

from pathlib import Path

ROOT = Path("/")


def text_of(path: Path) -> str:
    """Reads the file's text; empty where this machine does not show it."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip("\0\n ")
    except OSError:
        return ""


def number_of(path: Path) -> float | None:
    """Reads the one number in the file; None where there is no such file or no number."""
    try:
        return float(text_of(path))
    except ValueError:
        return None


def fields_of(path: Path) -> dict[str, str]:
    """Reads `name : value` lines: the first value of each name."""
    fields: dict[str, str] = {}
    for line in text_of(path).splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    return fields
