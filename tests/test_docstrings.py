"""Docstrings: the first line is a verb or a noun phrase that stands alone."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1] / "src" / "detkit"
# How a line begins that goes on from a name, a signature or the docstring before it.
FRAGMENT = re.compile(
    r"(And|As|At|But|By|In|None|Of|On|Or|Only|That|The same|Then|Those|To|With|Without)\b"
    r"|`\w+` (is|are|says|holds|has)\b"
)


def first_lines(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            yield (ast.get_docstring(node) or "").partition("\n")[0]


def test_first_lines_stand_alone() -> None:
    found = {
        str(file.relative_to(ROOT)): lines
        for file in sorted(ROOT.rglob("*.py"))
        if (lines := [line for line in first_lines(file) if FRAGMENT.match(line)])
    }
    assert found == {}
