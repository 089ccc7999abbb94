"""Templates -> one self-contained HTML page: no scripts, no links out, every text escaped.

`templates/` holds the HTML and the CSS; a page's module (`run_page`, `search_page`) computes what
its template shows.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from detkit.artifact.artifact import versions
from detkit.pages.chart import printable

NUMBER = re.compile(r"\d[\d.,e+-]*( \+- \d+%)?$|-$")


@dataclass(frozen=True)
class Table:
    """Headers and rows of text; `words` says which columns hold more than numbers."""

    headers: tuple[str, ...]
    rows: Sequence[Sequence[str]]

    @property
    def words(self) -> tuple[bool, ...]:
        columns = range(len(self.headers))
        return tuple(not all(NUMBER.match(row[i]) for row in self.rows) for i in columns)


def render_page(template: str, title: str, values: Mapping[str, object]) -> str:
    """The HTML of a template of `templates/`, which extends `page.html`.

    Args:
        values: by the names the template uses; text is escaped, charts are not, and characters
            that cannot be shown become U+FFFD.
    """
    page = _environment().get_template(template)
    return page.render(title=title, version=versions()["detkit"], **values)


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        finalize=lambda value: value if isinstance(value, Markup) else printable(value),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals["zip"] = zip
    return environment
