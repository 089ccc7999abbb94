"""The digest that JSON of ours carries, so that damage and edits by hand are noticed in reading.

It is over the values, not the text: blanks, the order of keys and how a number is written (`1.0`,
`1`, `1e0`) do not count, so that a file that passed through `jq` or an editor is still whole.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from detkit.core.errors import ArtifactError

KEY = "content_digest"
DIGITS = 16  # of the SHA-256, in hex
ACCEPT_FLAG = "--accept-edits"


class DamagedError(ArtifactError):
    """JSON that is not as a verb wrote it."""


@dataclass(frozen=True, kw_only=True)
class Sealed:
    """A record whose JSON carries the digest of everything else in it; see `core.serialization`."""

    content_digest: str = field(default="", compare=False)


def seal(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Adds their digest to the values, as the last one.

    >>> seal({"a": 1})["content_digest"] == seal({"content_digest": "", "a": 1.0})["content_digest"]
    True
    """
    content = {key: value for key, value in plain.items() if key != KEY}
    return {**content, KEY: content_digest(content)}


def check_seal(plain: Mapping[str, Any], where: str) -> None:
    """Raises DamagedError unless the values are those that the digest was made of."""
    if plain.get(KEY) != seal(plain)[KEY]:
        known = "its content does not match its" if KEY in plain else "it carries no"
        raise DamagedError(f"{where} is damaged or was edited: {known} {KEY}")


def unsealed(plain: Any, where: str) -> Any:
    """The value without its digest, which files that people write too may lack.

    Raises:
        DamagedError: it has one, of other values.
    """
    if not isinstance(plain, Mapping) or KEY not in plain:
        return plain
    check_seal(plain, where)
    return {key: value for key, value in plain.items() if key != KEY}


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Adds to a DamagedError of the block how an edit by hand in this file is accepted."""
    try:
        yield
    except DamagedError as error:
        accept = f"detkit info {shlex.quote(str(path))} {ACCEPT_FLAG}"
        hint = f"make or copy it again; if you edited it yourself: {accept}"
        raise DamagedError(str(error), hint=hint) from error


def seal_again(value: Any) -> Any:
    """A JSON value in which every digest is that of the values as they are now."""
    if isinstance(value, list):
        return [seal_again(item) for item in value]
    if not isinstance(value, Mapping):
        return value
    inner = {key: seal_again(item) for key, item in value.items()}
    return seal(inner) if KEY in inner else inner


def content_digest(content: Mapping[str, Any]) -> str:
    """16 hex digits over the values."""
    text = json.dumps(_canonical(content), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


def _canonical(value: Any) -> Any:
    """The value with whole numbers as integers, however they were written."""
    if isinstance(value, Mapping):
        return {str(key): _canonical(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_canonical(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
