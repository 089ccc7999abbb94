"""One run at a time in a folder: a lock file that names the process and the host that hold it.

The kernel keeps the lock (a POSIX record lock, which NFS carries to other hosts), so it ends with
its process, however that ends, and processes forked from it do not hold it. The text in the file is
for people. A file that nobody holds is stale: its run was killed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from detkit.core.errors import UsageError

LOCK = "run.lock"
NO_LOCKS_HERE = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)  # of a file system
TRIES = 20
BETWEEN_TRIES_S = 0.05  # for a holder that is about to write its name, or to leave


@dataclass(frozen=True, kw_only=True)
class Holder:
    """The run that a lock file names; pid 0 where it names none."""

    pid: int = 0
    host: str = ""
    since: str = ""

    @property
    def may_be_alive(self) -> bool:
        """Whether its process is there, or nobody can tell as it is on another host."""
        if self.host != platform.node():
            return bool(self.pid)
        return self.pid != os.getpid() and Path(f"/proc/{self.pid}").exists()

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"


def killed_note(killed: Holder) -> str:
    """The line that says what became of an earlier run."""
    return f"an earlier run here was killed: {killed}"


@contextlib.contextmanager
def locked_folder(folder: Path) -> Iterator[Holder | None]:
    """Holds the lock of `folder`, which is made where it is missing, while the block runs.

    Gives the killed run whose stale lock was found, None where there was none. What the block does
    not fill is removed again: the lock file, and a folder made here.

    Raises:
        UsageError: another run holds it.
    """
    is_new = not folder.exists()
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file, not a folder")
    try:
        file, killed = _acquire(folder / LOCK)
        try:
            yield killed
        finally:
            (folder / LOCK).unlink(missing_ok=True)  # before it is let go: nobody else has it yet
            file.close()
    finally:
        if is_new:
            with contextlib.suppress(OSError):
                folder.rmdir()


def check_unlocked(folder: Path) -> None:
    """Raises UsageError where a run is under way in `folder`; writes nothing."""
    if (folder / LOCK).is_file():
        with (folder / LOCK).open("r+", encoding="utf-8") as file:
            if not _try_lock(file):
                raise _refusal(folder, _holder_of(file))


def _acquire(path: Path) -> tuple[IO[str], Holder | None]:
    """The open file whose lock is held, with the killed run it named before."""
    holder = Holder()
    for _ in range(TRIES):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8")
        is_locked = _try_lock(file)
        holder = _holder_of(file)
        if is_locked and _is_at(file, path):
            try:
                _name_this_process(file)
            except OSError:  # the disk is full
                path.unlink()
                file.close()
                raise
            return file, holder if holder.pid else None
        file.close()
        if not is_locked and holder.pid:
            break
        time.sleep(BETWEEN_TRIES_S)
    raise _refusal(path.parent, holder)


def _name_this_process(file: IO[str]) -> None:
    """Writes who holds the lock into its file, at once."""
    mine = {"pid": os.getpid(), "host": platform.node()}
    text = json.dumps({**mine, "since": time.strftime("%Y-%m-%d %H:%M:%S")}) + "\n"
    file.truncate(0)
    os.write(file.fileno(), text.encode())


def _try_lock(file: IO[str]) -> bool:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in NO_LOCKS_HERE:
            return not _holder_of(file).may_be_alive
        if error.errno in (errno.EACCES, errno.EAGAIN):
            return False
        raise
    return True


def _is_at(file: IO[str], path: Path) -> bool:
    """Whether the open file is still the one of this name, and not one that its run removed."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _holder_of(file: IO[str]) -> Holder:
    file.seek(0)
    try:
        plain = json.loads(file.read(1000))
        return Holder(pid=int(plain["pid"]), host=str(plain["host"]), since=str(plain["since"]))
    except (ValueError, KeyError, TypeError):
        return Holder()


def _refusal(folder: Path, holder: Holder) -> UsageError:
    who = f": {holder}" if holder.pid else ""
    return UsageError(
        f"a run is under way in {folder}{who}", hint="let it end, or give this one another folder"
    )
