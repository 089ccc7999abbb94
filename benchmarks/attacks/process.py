"""Verbs run in forks of this process, which has imported all that is slow, and what they left."""

from __future__ import annotations

import gc
import json
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType

SHOWN = 5  # failures that a row of the table tells


@dataclass
class Tally:
    """One line of the table: how often it was tried, how often it held, and what went wrong."""

    what: str
    tried: int = 0
    held: int = 0
    failures: list[str] = field(default_factory=list)
    notes: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    def add(self, failure: str = "", *, note: str = "") -> None:
        """Counts one try; it held where `failure` is empty."""
        self.tried += 1
        self.held += not failure
        if failure and len(self.failures) < SHOWN:
            self.failures.append(failure)
        if note:
            self.notes[note] = self.notes.get(note, 0) + 1


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a verb ended: its exit code, negative for a signal, and its streams."""

    code: int
    stdout: str
    stderr: str
    seconds: float

    @property
    def is_clean_error(self) -> bool:
        """One `error:` line that the user can mend, without a traceback."""
        return (
            self.code in (1, 2, 4)
            and "Traceback" not in self.stderr
            and self.stderr.count("error: ") == 1
        )


def preload() -> None:
    """Imports what verbs import, but for what starts threads, which do not live on in a fork."""
    import onnxscript  # noqa: F401
    import torch

    import detkit.cli.app
    import detkit.nn.detector
    import detkit.train.run  # noqa: F401

    torch.set_num_threads(1)
    gc.freeze()  # else each fork's first collection copies all of it


class Started:
    """A verb that runs in a fork."""

    def __init__(
        self, args: list[str], cwd: Path, *, before: Callable[[], None] = lambda: None
    ) -> None:
        """Starts it in `cwd`, its streams in files beside it; `before` runs in the child first."""
        self.streams = (cwd.with_name(f"{cwd.name}.stdout"), cwd.with_name(f"{cwd.name}.stderr"))
        self.began = time.monotonic()
        self.pid = os.fork()
        if self.pid == 0:
            _become(args, cwd, self.streams, before)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> Ended:
        _, status = os.waitpid(self.pid, 0)
        texts = [path.read_text("utf-8", errors="replace") for path in self.streams]
        return Ended(
            code=os.waitstatus_to_exitcode(status),
            stdout=texts[0],
            stderr=texts[1],
            seconds=time.monotonic() - self.began,
        )


def run_verb(args: list[str], cwd: Path, *, before: Callable[[], None] = lambda: None) -> Ended:
    """Runs a verb to its end."""
    return Started(args, cwd, before=before).wait()


def kill_after(args: list[str], cwd: Path, seconds: float) -> Ended:
    """Runs a verb and kills it after so many seconds, unless it has ended by itself."""
    started = Started(args, cwd)
    left = started.began + seconds - time.monotonic()
    while (
        left > 0 and os.waitid(os.P_PID, started.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    ):
        time.sleep(min(left, 0.01))
        left = started.began + seconds - time.monotonic()
    started.kill()
    return started.wait()


def in_fork(measure: Callable[[], Tally], *, more_bytes: int) -> Tally:
    """Measures in a fork of its own, which may take so many bytes more than this process has.

    Raises:
        RuntimeError: it ended without a result.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            limit = _address_space() + more_bytes
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            with os.fdopen(writing, "w", encoding="utf-8") as pipe:
                pipe.write(json.dumps(asdict(measure())))
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as pipe:
        text = pipe.read()
    _, status = os.waitpid(pid, 0)
    if not text:
        code = os.waitstatus_to_exitcode(status)
        raise RuntimeError(f"a fork ended without a result: exit {code}")
    return Tally(**json.loads(text))


class TooSlowError(BaseException):
    """An execution took longer than it may; nothing under attack catches it."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raises TooSlowError in a block that takes longer."""

    def give_up(_: int, __: FrameType | None) -> None:
        raise TooSlowError(f"longer than {seconds:g} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _address_space() -> int:
    """Bytes of this process's address space."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


def files_below(folder: Path) -> Iterator[Path]:
    """All files of a folder, in order."""
    yield from (path for path in sorted(folder.rglob("*")) if path.is_file())


def _become(
    args: list[str], cwd: Path, streams: tuple[Path, Path], before: Callable[[], None]
) -> None:
    """Makes a fork the process of a verb; does not return."""
    code = 70
    try:
        os.chdir(cwd)
        for number, path in enumerate((Path(os.devnull), *streams)):
            flags = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC
            opened = os.open(path, flags)
            os.dup2(opened, number)
        before()
        from detkit.cli.app import main

        code = main(args)
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
