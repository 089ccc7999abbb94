"""ARCHITECTURE.md says what is there: its table of rooms is that of the ranks and the docstrings.

python tests/test_architecture.py    writes the table anew
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "ARCHITECTURE.md"
TABLE = re.compile(r"(?<=<!-- rooms: begin -->\n).*?(?=<!-- rooms: end -->)", re.DOTALL)
sys.path.insert(0, str(Path(__file__).parent))

from test_rooms import STEPS  # noqa: E402


def first_line(room: str) -> str:
    """What the room says of itself."""
    home = ROOT / "src" / "detkit"
    path = home / room / "__init__.py"
    path = path if path.is_file() else home / f"{room}.py"
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.splitlines()[0]


def table() -> str:
    rows = ["| step | room | what lives there |", "| --- | --- | --- |"]
    for step, rooms in enumerate(STEPS, 1):
        rows += [f"| {step} | `{room}` | {first_line(room)} |" for room in rooms]
    return "\n".join(rows) + "\n"


def test_the_table_of_rooms_is_that_of_the_ranks() -> None:
    found = TABLE.search(PAGE.read_text(encoding="utf-8"))
    assert found is not None
    assert found[0] == table(), "run: python tests/test_architecture.py"


def test_every_file_that_the_page_names_is_there() -> None:
    text = PAGE.read_text(encoding="utf-8")
    named = re.findall(r"`((?:tests|[a-z_]+)/[\w/.]+\.py)`", text)
    assert named
    homes = (ROOT, ROOT / "src" / "detkit")
    assert [name for name in named if not any((home / name).is_file() for home in homes)] == []


if __name__ == "__main__":
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(TABLE.sub(lambda _: table(), page), encoding="utf-8")
