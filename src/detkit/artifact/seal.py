"""A file's own digest inside it: the SHA-256 of all its bytes, with `PLACEHOLDER` for the digest.

While a file is written, a token of its own stands where the digest goes, so that no text in it,
such as the name of a class, can be taken for that place.
"""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path

from detkit.core.reading import bytes_of

PLACEHOLDER = "digest-of-the-file-with-this-text-in-the-place-of-the-digest----"


def new_token() -> str:
    """64 characters that stand nowhere else, for one place in one file."""
    return secrets.token_hex(len(PLACEHOLDER) // 2)


def seal(path: Path, token: str) -> str:
    """Puts the digest of the file where the token stands, and returns it."""
    data = bytes_of(path)
    at = data.index(token.encode())
    digest = _digest(data, at)
    _write(path, at, digest)
    return digest


def put(path: Path, text: str, token: str) -> None:
    """Puts a text of the token's length where the token stands."""
    _write(path, bytes_of(path).index(token.encode()), text)


def is_sealed(path: Path, digest: str) -> bool:
    """Whether this is the digest that the file was sealed with, and not a bit has changed."""
    data = bytes_of(path)
    at = data.find(digest.encode()) if len(digest) == len(PLACEHOLDER) else -1
    return at >= 0 and _digest(data, at) == digest


def _digest(data: bytes, at: int) -> str:
    """The digest of a file whose own digest stands, or will stand, at `at`."""
    view, found = memoryview(data), hashlib.sha256()
    for part in (view[:at], PLACEHOLDER.encode(), view[at + len(PLACEHOLDER) :]):
        found.update(part)
    return found.hexdigest()


def _write(path: Path, at: int, text: str) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(text.encode())
