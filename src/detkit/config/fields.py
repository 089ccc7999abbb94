"""A setting: its default, its help and its bounds in one place, the field."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from detkit.core.errors import UsageError

MAX_SEED = 2**63 - 1
MANY = 1000  # from here on an upper bound is there against slips, and not worth telling
SWITCH = ("auto", "on", "off")


def setting(
    default: Any,
    help_text: str,
    *,
    least: float | None = None,
    most: float | None = None,
    choices: tuple[str, ...] = (),
) -> Any:
    """A field with its help and its bounds, both included, beside it."""
    known = {"help": help_text, "least": least, "most": most, "choices": choices}
    return field(default=default, metadata=known)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A table of settings that are held to the bounds beside their fields.

    Raises:
        UsageError: a value out of bounds, with its key and the bounds.
    """

    section: ClassVar[str] = ""  # what stands before a key on the command line

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            _check(f"{self.section}{item.name}", getattr(self, item.name), item.metadata)


def _check(key: str, value: Any, known: Mapping[str, Any]) -> None:
    least, most, choices = (known.get(name) for name in ("least", "most", "choices"))
    if least is not None and not least <= value <= most:
        raise UsageError(f"{key}: {value} is not within {least}..{most}")
    if choices and value not in choices:
        words = [word for word in choices if word]
        expected = f"{', '.join(words[:-1])} or {words[-1]}"
        raise UsageError(f"{key}: expected {expected}, got '{value}'")


def bounds_text(known: Mapping[str, Any]) -> str:
    """`0 to 1` of a field's metadata; nothing where any value will do, or just a lower bound does.

    >>> bounds_text({"least": 0, "most": 1})
    '0 to 1'
    >>> bounds_text({"least": 1, "most": 1_000_000})
    'from 1'
    """
    least, most = known.get("least"), known.get("most")
    if least is None or most is None:
        return ""
    return f"from {least:g}" if most >= MANY else f"{least:g} to {most:g}"
