"""A setting: its default, its help and its bounds in one place, the field."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
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
    """A field with its help beside it, and the values it may have: bounds included, or choices."""
    known = {"help": help_text, "least": least, "most": most, "choices": choices}
    return field(default=default, metadata=known)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """A table of settings that are held to the bounds and choices beside their fields.

    Raises:
        UsageError: a value that is not allowed, with its key and those that are.
    """

    section: ClassVar[str] = ""  # what stands before a key on the command line

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            _check(f"{self.section}{item.name}", getattr(self, item.name), item.metadata)


def _check(key: str, value: Any, known: Mapping[str, Any]) -> None:
    least, most, choices = (known.get(name) for name in ("least", "most", "choices"))
    is_high_enough = least is None or value >= least
    is_low_enough = most is None or value <= most
    if not (is_high_enough and is_low_enough):
        raise UsageError(f"{key}: {value} is not {_range_text(least, most)}")
    if choices and value not in choices:
        raise UsageError(f"{key}: expected {either(choices)}, got '{value}'")


def _range_text(least: float | None, most: float | None) -> str:
    if most is None:
        return f"{least} or more"
    return f"{most} or less" if least is None else f"within {least}..{most}"


def allowed_text(known: Mapping[str, Any]) -> str:
    """What a field with this metadata may be, in words for its help; empty where all is allowed.

    >>> allowed_text({"least": 0, "most": 1})
    '0 to 1'
    >>> allowed_text({"least": 1, "most": 1_000_000})
    'from 1'
    >>> allowed_text({"choices": ("auto", "on", "off")})
    'auto, on or off'
    """
    least, most = known.get("least"), known.get("most")
    if known.get("choices"):
        return either(known["choices"])
    if least is None:
        return "" if most is None else f"up to {most:g}"
    return f"from {least:g}" if most is None or most >= MANY else f"{least:g} to {most:g}"


def either(words: Iterable[str]) -> str:
    """The words that are not empty as a list in a sentence.

    >>> either(["", "backbone", "backbone+neck"])
    'backbone or backbone+neck'
    """
    *rest, last = (word for word in words if word)
    return f"{', '.join(rest)} or {last}" if rest else last
