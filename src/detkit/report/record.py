"""What all reports have in common: each says its kind, so that any JSON file can be told apart.

Names of fields are keys of JSON that scripts rely on: `runtime` is what `--runtime` takes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

from detkit.core.content_digest import Sealed


@dataclass(frozen=True, kw_only=True)
class Report(Sealed):
    """A record that a verb writes as a JSON file; `kind` is the same for all of a class."""

    kind: str = ""


def kind_of_class(cls: type[Report]) -> str:
    """The kind that records of this class carry."""
    (found,) = (item.default for item in dataclasses.fields(cls) if item.name == "kind")
    return str(found)


def report_classes(base: type[Report] = Report) -> Iterator[type[Report]]:
    """Every class of reports that has been imported; all are by `import detkit.report`."""
    for cls in base.__subclasses__():
        yield cls
        yield from report_classes(cls)
