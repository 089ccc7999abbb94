"""The three streams of the process: always there, and no trouble of theirs is taken for a bug.

Data that cannot be delivered on stdout is an error: whoever waits for it must know. A log that
cannot be written on stderr is not: the work goes on without it.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from typing import TextIO

from detkit.core.errors import DetkitError

CLOSED = {0: os.O_RDONLY, 1: os.O_RDONLY, 2: os.O_WRONLY}  # a write to stdout is to fail then


def prepare() -> None:
    """Opens streams that the process was started without, and lets them carry any file name.

    Else the next file that is opened would get the number of the stream that is missing, and take
    what is written to it.
    """
    for number, mode in CLOSED.items():
        try:
            os.fstat(number)
        except OSError:
            _redirect(number, mode)
    sys.stdin = sys.stdin or open(0, encoding="utf-8")  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8")  # noqa: SIM115
    for stream, errors in ((sys.stdout, "surrogateescape"), (sys.stderr, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors=errors)


def write(text: str) -> None:
    """Writes data to stdout, at once.

    Raises:
        BrokenPipeError: nobody reads it any more, as `head` when it has enough.
        DetkitError: it is closed, or the disk that it goes to is full.
    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        _give_up(sys.stdout)
        raise
    except OSError as error:
        _give_up(sys.stdout)
        reason = "it is closed" if error.errno == errno.EBADF else error.strerror
        raise DetkitError(f"cannot write to stdout: {reason}") from error


def settle() -> None:
    """Forgets what cannot be delivered on stdout, so that it does not fail once more at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        _give_up(sys.stdout)


def tell(text: str) -> None:
    """Writes to stderr, if that can be."""
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        _give_up(sys.stderr)


def _give_up(stream: TextIO) -> None:
    """Sends what is still buffered, and all that comes, nowhere; else it would fail at exit."""
    with contextlib.suppress(OSError, ValueError):
        _redirect(stream.fileno(), os.O_WRONLY)


def _redirect(number: int, mode: int) -> None:
    handle = os.open(os.devnull, mode)
    if handle != number:
        os.dup2(handle, number)
        os.close(handle)
