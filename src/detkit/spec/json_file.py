"""A spec of the user's own, from a JSON file."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from detkit.codec import from_json
from detkit.errors import UsageError

T = TypeVar("T")


def read_spec(cls: type[T], path: Path, what: str) -> T:
    """The `cls` in a JSON file; `what` is its name in messages.

    Raises:
        UsageError: no such file, unreadable, or not of the right shape.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UsageError(f"no such {what} file: {path}") from error
    except OSError as error:
        raise UsageError(f"cannot read the {what} {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 text") from error
    return from_json(cls, text, where=path.name)
