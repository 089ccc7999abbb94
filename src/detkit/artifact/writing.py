"""The one way a file reaches the disk: whole under its name, or not at all.

What lives here: temporary folders of ours, and all that writes, copies or links a file. Everything
else in detkit calls it; `tests/test_architecture.py` holds that. Which names may be written to is
in `outputs`.

A file is written in a hidden folder beside its name, and renamed. The folder holds a lock file that
its process has locked, so that the kernel says whether the process is gone: also in another
container, after a restart, or where its number went to another process. What a killed process left
is removed by the next one that writes beside it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from detkit.core.errors import ArtifactError, DetkitError
from detkit.core.reading import kind_of_file

TEMPORARY = re.compile(r"\.detkit-[a-z0-9_]{8}\.partial")
LOCK = ".lock-of-detkit"
FULL = (errno.ENOSPC, errno.EDQUOT)


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text atomically."""
    write_bytes(path, text.encode("utf-8"))


def write_bytes(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Writes a file atomically; `durable` is as in `atomic_path`."""
    with atomic_path(path, durable=durable) as partial:
        partial.write_bytes(data)
        _check_length(partial, len(data))


def copy_file(source: Path, path: Path) -> None:
    """Copies the content of a file atomically, to be followed by `sync_files`."""
    with atomic_path(path, durable=False) as partial:
        shutil.copyfile(source, partial)
        _check_length(partial, source.stat().st_size)


def link_file(source: Path, path: Path) -> bool:
    """Gives a file a second name (a hard link), atomically; False where that cannot be."""
    with contextlib.suppress(ArtifactError), atomic_path(path, durable=False) as partial:
        os.link(source.resolve(), partial)
        return True
    return False


def append_line(path: Path, line: str) -> None:
    """Adds a line to a growing file, which after an error ends where it did before.

    Raises:
        ArtifactError: the disk is full, or the file cannot be written to.
    """
    append_bytes(path, f"{line}\n".encode("utf-8", "backslashreplace"))


def append_bytes(path: Path, data: bytes) -> None:
    """Adds to a growing file, as `append_line` does."""
    with _telling(path):
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            before = os.fstat(handle).st_size
            written = os.write(handle, data)
            if written < len(data):
                os.ftruncate(handle, before)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(handle)


@contextlib.contextmanager
def atomic_path(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """A name to write to, which gets the name `path` when the block ends without an error.

    The name lies in a folder of its own, so that what a library writes beside it is ours to remove.
    A kill at any instant leaves the old file or the new one.

    Args:
        durable: wait until the file is on the disk, so that not even a power cut loses it. Of many
            files that are worth nothing without one that is written after them, `sync_files` once.

    Raises:
        ArtifactError: the disk is full, the folder cannot be written to, or `path` is no place for
            a file: a folder, a pipe, a device.
    """
    with _telling(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _check_is_file_or_absent(path)
        with temporary_folder(path.parent) as folder:
            partial = folder / path.name
            yield partial
            if durable:
                _sync(partial)
            os.replace(partial, path)  # noqa: PTH105
            if durable:
                _sync(path.parent)


def sync_files(paths: Iterable[Path]) -> None:
    """Waits until files that were written without `durable` are on the disk.

    Raises:
        ArtifactError: they did not get there.
    """
    written = list(paths)
    for path in (*written, *dict.fromkeys(path.parent for path in written)):
        with _telling(path):
            _sync(path)


@contextlib.contextmanager
def temporary_folder(parent: Path | None = None) -> Iterator[Path]:
    """A folder in `parent`, by default in the system's for temporary files; gone after the block.

    Raises:
        ArtifactError: the folder cannot be made, or the system's is full.
    """
    home = parent or Path(tempfile.gettempdir())
    sweep(home)
    with contextlib.nullcontext() if parent else _telling_of_temporaries(home):
        folder, lock = _locked_folder(home)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


@functools.cache
def sweep(home: Path) -> None:
    """Removes what killed processes left in a folder, looked through once a process."""
    with contextlib.suppress(OSError):
        for entry in sorted(home.iterdir()):
            if TEMPORARY.fullmatch(entry.name) and not entry.is_symlink():
                _remove_if_left(entry)


def _locked_folder(home: Path) -> tuple[Path, int]:
    """A new folder, and its lock file open and locked; a sweeper that was quicker is no matter."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=".detkit-", suffix=".partial", dir=home))
        with contextlib.suppress(FileNotFoundError):
            lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
            if _lock(lock) and os.fstat(lock).st_nlink:
                return folder, lock
            os.close(lock)


def _lock(handle: int) -> bool:
    """Locks an open file; False where another process has it.

    Where the file system has no locks nothing is swept, and none is needed.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _remove_if_left(folder: Path) -> None:
    try:
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        with contextlib.suppress(OSError):
            folder.rmdir()  # a process was killed between the two steps of making it
        return
    except OSError:
        return
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)


# --- errors --------------------------------------------------------------------------------------


def write_error(path: Path, error: OSError) -> DetkitError:
    """What to tell a user whose file could not be written."""
    reason = "the disk is full" if error.errno in FULL else error.strerror or str(error)
    return ArtifactError(f"cannot write {path}: {reason}")


@contextlib.contextmanager
def _telling(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise write_error(path, error) from error


@contextlib.contextmanager
def _telling_of_temporaries(home: Path) -> Iterator[None]:
    """Names the folder where a library only says that there is no room."""
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise ArtifactError(
            f"cannot write temporary files in {home}: the disk is full",
            hint="TMPDIR=DIR names another folder for them",
        ) from error


def _check_is_file_or_absent(path: Path) -> None:
    """Raises OSError where a rename would replace a folder, a pipe, a device, or a process' own."""
    kind = kind_of_file(path)
    if kind not in ("", "a file") or os.path.realpath(path.parent).startswith("/proc/"):
        raise OSError(errno.EINVAL, f"it is {kind or 'within /proc'}, not a file")
    if path.is_symlink() and os.path.realpath(path.readlink().parent).startswith("/proc/"):
        raise OSError(errno.EINVAL, "it is a stream of a process, not a file")


def _check_length(partial: Path, length: int) -> None:
    """Raises OSError where less arrived than was written: what some file systems call success."""
    if partial.stat().st_size != length:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
