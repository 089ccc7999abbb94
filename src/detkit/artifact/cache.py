"""What is remembered between runs, under `$XDG_CACHE_HOME/detkit`.

Each cache is one JSON file, replaced as a whole by a rename, so several processes may share it; it
may be deleted at any time, and one that cannot be read or written is simply not used.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detkit.artifact.writing import write_text
from detkit.core.content_digest import DamagedError, check_seal, seal
from detkit.core.errors import DetkitError
from detkit.core.reading import bytes_of

CACHE_BYTES = 256 << 20  # of all caches of a kind
READING_ERRORS = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)


@dataclass(frozen=True, kw_only=True)
class FileStamp:
    """A file as it is now; another stamp means it may have changed."""

    path: Path
    real: Path  # links followed
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> FileStamp:
        status = path.stat()
        real = path.resolve()
        return cls(path=path, real=real, size=status.st_size, mtime_ns=status.st_mtime_ns)

    @property
    def key(self) -> str:
        """What a cache remembers this file under."""
        return f"{self.size}:{self.mtime_ns}:{os.fsencode(self.real).hex()}"


@dataclass(frozen=True, kw_only=True)
class FileCache:
    """What was found out about files: `kind` names the folder, `key` the set of files.

    `head` says what else the findings depend on; those under another head are not read.
    """

    kind: str
    key: str
    head: Mapping[str, object]

    def read(self) -> dict[str, Any]:
        """Findings by `FileStamp.key`; nothing where there is no cache of this head."""
        path = self._path()
        try:
            plain = json.loads(bytes_of(path)) if path else {}
            asked = json.loads(json.dumps(dict(self.head)))  # tuples are lists there
            if not path or plain["head"] != asked:
                return {}
            check_seal(plain, str(path))
            return dict(plain["files"].items())
        except (*READING_ERRORS, DamagedError):
            return {}

    def write(self, findings: Mapping[str, object]) -> None:
        """Replaces what is remembered; removes the oldest caches of the kind if it is large."""
        path = self._path()
        if path is None:
            return
        with contextlib.suppress(DetkitError, OSError):
            content = seal({"head": dict(self.head), "files": dict(findings)})
            write_text(path, json.dumps(content))
            _prune(path.parent)

    def _path(self) -> Path | None:
        folder = cache_folder()
        name = hashlib.sha256(self.key.encode("utf-8", "surrogateescape")).hexdigest()[:24]
        return folder / self.kind / f"{name}.json" if folder else None


def cache_folder() -> Path | None:
    """`$XDG_CACHE_HOME/detkit` or `~/.cache/detkit`; None where neither is an absolute path."""
    named = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(named) if named else Path("~/.cache").expanduser()
    return base / "detkit" if base.is_absolute() else None


def _prune(folder: Path) -> None:
    """Removes the oldest cache files beyond `CACHE_BYTES` in all."""
    files = sorted(folder.glob("*.json"), key=lambda file: file.stat().st_mtime, reverse=True)
    total = 0
    for file in files:
        total += file.stat().st_size
        if total > CACHE_BYTES:
            file.unlink(missing_ok=True)
