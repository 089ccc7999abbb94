"""A spec of the user's own, from a JSON file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

from detkit.core.content_digest import reading, unsealed
from detkit.core.errors import DetkitError, UsageError
from detkit.core.json_text import parse_json
from detkit.core.reading import text_of
from detkit.core.serialization import from_plain

T = TypeVar("T")


def read_spec(cls: type[T], path: Path, what: str) -> T:
    """Reads a `cls` from a JSON file; `what` is its name in messages.

    Raises:
        DetkitError: it cannot be read.
        UsageError: no such file, or not of the right shape.
    """
    return from_plain(cls, read_plain(path, what), where=path.name)


def read_plain(path: Path, what: str) -> Any:
    """Reads the JSON value in a file, without its digest where a verb wrote it with one.

    Raises:
        DetkitError: it cannot be read.
        UsageError: no such file, not JSON, or an object that has a key twice.
        DamagedError: a verb wrote it, and it has changed since.
    """
    try:
        with reading(path):
            return unsealed(parse_json(text_of(path)), path.name)
    except FileNotFoundError as error:
        raise UsageError(f"no such {what} file: {path}") from error
    except OSError as error:
        raise DetkitError(f"cannot read the {what} {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 text") from error
    except ValueError as error:
        raise UsageError(f"{path.name}: not valid JSON: {error}") from error
