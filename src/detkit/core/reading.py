"""Opening what a user names: a file is read, and nothing else is waited for.

A pipe blocks until somebody writes, a device may never end, and neither can be read twice, as a
file is that is checked before it is used. What lives here raises OSError as `open` does, with the
file's name and a reason, so that callers treat both alike.
"""

from __future__ import annotations

import errno
import stat
from pathlib import Path
from typing import BinaryIO

from detkit.core.errors import ArtifactError

KINDS = {
    stat.S_IFREG: "a file",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def kind_of_file(path: Path) -> str:
    """What lies there, links followed: a file, a folder, a pipe, ...; "" for nothing.

    >>> kind_of_file(Path("/dev/null"))
    'a device'
    """
    try:
        return KINDS.get(stat.S_IFMT(path.stat().st_mode), "of an unknown kind")
    except (FileNotFoundError, NotADirectoryError):
        return ""


def require_file(path: Path, *, hint: str = "") -> None:
    """Raises ArtifactError where no file is, saying what is there instead."""
    kind = kind_of_file(path)
    if not kind:
        raise ArtifactError(f"no such file: {path}", hint=hint)
    if kind != "a file":
        raise ArtifactError(f"{path} is {kind}, not a file", hint=hint)


def open_file(path: Path) -> BinaryIO:
    """Opens a file for reading bytes.

    Raises:
        OSError: missing, a folder, a pipe, a device, or not to be read.
    """
    kind = kind_of_file(path)
    if kind not in ("", "a file"):
        code = errno.EISDIR if kind == "a folder" else errno.EINVAL
        raise OSError(code, f"it is {kind}, not a file", str(path))
    return path.open("rb")


def bytes_of(path: Path) -> bytes:
    """The whole file; raises OSError as `open_file` does."""
    with open_file(path) as file:
        return file.read()


def text_of(path: Path, encoding: str = "utf-8") -> str:
    """The whole file as text, with newlines as `open` translates them.

    Raises:
        OSError: as `open_file` does.
        UnicodeDecodeError: of another encoding.
    """
    text = bytes_of(path).decode(encoding)
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text
