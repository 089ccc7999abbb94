"""What a value of an annotation file means: numbers, ids and marks, however a tool wrote them.

Tables go through programs that turn 1 into 1.0 or "1". All of these are the number 1 here, so that
nothing is lost by the way it was written; what stands for no number stays what it is. Values that
were written in another way than JSON's own are told (see `faults.NUMBERS_READ`).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

NUMBER = re.compile(
    r"\s*[-+]?(\d{1,400}(\.\d{0,400})?|\.\d{1,400})([eE][-+]?\d{1,4})?\s*", re.ASCII
)
NOT_FINITE = re.compile(r"\s*[-+]?(nan|inf|infinity)\s*", re.IGNORECASE)
LEADING_ZERO = re.compile(r"\s*[-+]?0\d", re.ASCII)
WORDS = {"true": True, "false": False}

Json = dict[str, Any]


def number(value: object) -> float | None:
    """A number, too large ones as infinity; None for anything else, marks included."""
    if isinstance(value, str):
        return float(value) if NUMBER.fullmatch(value) or NOT_FINITE.fullmatch(value) else None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf


def numbers(value: object, count: int) -> tuple[float, ...] | None:
    """A list of `count` numbers; None for anything else."""
    if not isinstance(value, list) or len(value) != count:
        return None
    found = tuple(x for item in value if (x := number(item)) is not None)
    return found if len(found) == count else None


def identity(value: object) -> int | str:
    """An id that can be looked up: 1, 1.0, "1" and "1.0" are one; nothing is called by "".

    A text with zeros before its number is no number: "007" and "7" are two names.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return ""
    if isinstance(value, int):
        return value
    if isinstance(value, str) and (LEADING_ZERO.match(value) or not NUMBER.fullmatch(value)):
        return value
    exact = float(value)
    return int(exact) if exact.is_integer() and abs(exact) < 1 << 53 else str(value)


def category_number(value: object) -> int | None:
    """The id of a category; None for what is no whole number."""
    found = identity(value)
    return found if isinstance(found, int) else None


def whole(value: object) -> int:
    """A positive whole number below 2^31; 0 for anything else."""
    found = identity(value)
    return found if isinstance(found, int) and 0 < found < 1 << 31 else 0


def mark(value: object) -> bool | None:
    """A mark of 0 or 1, true or false, and a missing one as false; None for anything else."""
    if isinstance(value, str) and value.strip().lower() in WORDS:
        return WORDS[value.strip().lower()]
    if value is None or isinstance(value, bool):
        return bool(value)
    found = number(value)
    return bool(found) if found in (0, 1) else None


def is_written_otherwise(item: Json, wholes: Iterable[str], reals: Iterable[str]) -> bool:
    """Whether one of the numbers is written as text, or one of `wholes` as a float."""
    values = [item.get(key) for key in wholes]
    wrong = any(isinstance(x, (str, float)) and isinstance(identity(x), int) for x in values)
    return wrong or any(map(_is_text, (item.get(key) for key in reals)))


def _is_text(value: object) -> bool:
    """A number or mark written as text, or a list with one."""
    if isinstance(value, list):
        return any(map(_is_text, value))
    return isinstance(value, str) and (value.strip().lower() in WORDS or number(value) is not None)
