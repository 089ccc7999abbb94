"""Signals that ask a long verb to save and end."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from detkit.train.loop import Interruption


@contextmanager
def listen() -> Iterator[Interruption]:
    """SIGINT and SIGTERM ask the run to save and end; a second one ends it at once."""
    from detkit.train.loop import Interruption

    interruption = Interruption()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def handle(number: int, _frame: FrameType | None) -> None:
        interruption.signal = number
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, handle)
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
