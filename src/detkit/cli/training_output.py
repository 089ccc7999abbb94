"""What verbs that train have in common: signals that ask to stop, and lines of progress."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Protocol, TypeVar

from detkit.cli import console
from detkit.core.errors import UsageError

if TYPE_CHECKING:
    from detkit.train.progress import TrainProgress
    from detkit.train.stop import StopSignal

SECONDS_BETWEEN_LINES = 10
SECONDS_BETWEEN_DRAWINGS = 0.1  # of a bar


def check_resume(resume: bool, force: bool) -> None:
    """Raises UsageError where a run is both to be continued and to be started over."""
    if resume and force:
        raise UsageError("--resume continues a run, --force starts it over: not both")


class HasLine(Protocol):
    """Progress that a person reads as one line."""

    def line(self) -> str: ...


L = TypeVar("L", bound=HasLine)


@contextmanager
def handle_signals() -> Iterator[StopSignal]:
    """SIGINT and SIGTERM ask the run to save and end; a second one ends it at once."""
    from detkit.train.stop import StopSignal

    stop = StopSignal()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def handle(number: int, _frame: FrameType | None) -> None:
        stop.signal = number
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, handle)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def shared_run() -> Iterator[StopSignal]:
    """Handles signals, and meets the other processes that torchrun launched for the same run."""
    from detkit.train.ranks import joined

    with joined(console.speak), handle_signals() as stop:
        yield stop


def line_printer(is_due: Callable[[L], bool], *, first: bool = False) -> Callable[[L], None]:
    """Prints a line every ten seconds, and where it is due.

    Args:
        first: whether the first line is due in any case.
    """
    last = 0.0 if first else time.monotonic()

    def show(progress: L) -> None:
        nonlocal last
        if is_due(progress) or time.monotonic() - last >= SECONDS_BETWEEN_LINES:
            console.log(progress.line())
            last = time.monotonic()

    return show


@contextmanager
def training_progress() -> Iterator[Callable[[TrainProgress], None]]:
    """Shows a training: on a terminal a bar for the epoch in progress and a line for each before.

    Elsewhere a line for each epoch's result, and in between one every ten seconds.
    """
    if not console.shows_bars():
        yield line_printer(lambda progress: progress.is_validated)
        return
    bar = console.EpochBar()
    try:
        yield _bar_shower(bar)
    finally:
        bar.close()


def _bar_shower(bar: console.EpochBar) -> Callable[[TrainProgress], None]:
    drawn, last_total = 0.0, 0

    def show(progress: TrainProgress) -> None:
        nonlocal drawn, last_total
        done, total = progress.part_done
        if progress.is_validated:
            line = progress.line()
            bar.clear()
            console.log(line if len(line) <= bar.width else progress.short_line())
        elif total != last_total or time.monotonic() - drawn >= SECONDS_BETWEEN_DRAWINGS:
            bar.show(f"epoch {progress.epoch}/{progress.epochs}", done, total, progress.bar_text())
            drawn, last_total = time.monotonic(), total

    return show
