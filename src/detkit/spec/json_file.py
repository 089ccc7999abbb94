"""A spec of the user's own, from a JSON file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from detkit.core.errors import DetkitError, UsageError
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
    """Reads the JSON value in a file.

    Raises:
        DetkitError: it cannot be read.
        UsageError: no such file, not JSON, or an object that has a key twice.
    """
    try:
        return json.loads(text_of(path), object_pairs_hook=_object)
    except FileNotFoundError as error:
        raise UsageError(f"no such {what} file: {path}") from error
    except OSError as error:
        raise DetkitError(f"cannot read the {what} {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: not UTF-8 text") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path.name}: not valid JSON: {error}") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; of a key that stands twice Python's parser would keep the last in silence."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"'{next(key for key in keys if keys.count(key) > 1)}' stands twice")
    return found
