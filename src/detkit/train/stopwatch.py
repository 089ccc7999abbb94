"""The only clock of a run: its time so far, its limit, and where an epoch's time goes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


class Stopwatch:
    """Runs from its making, or from `start`; `limit_s` is 0 where a run may take any time."""

    def __init__(self, *, limit_s: float) -> None:
        self._limit_s = limit_s
        self._agreed_s: float | None = None
        self._began = self._saved = self._epoch_began = time.monotonic()
        self._waited_s = 0.0
        self._images = 0
        self.images_per_s: float | None = None  # of the last epoch that trained
        self.data_wait_share: float | None = None  # of its time

    def start(self, *, spent_s: float) -> None:
        """Starts anew at `spent_s`, the seconds of the run before it was resumed."""
        self._saved = self._epoch_began = time.monotonic()
        self._began = self._saved - spent_s
        self._agreed_s = None

    def agree_on(self, spent_s: float) -> None:
        """Has the time limit reached by another process's clock, as last read."""
        self._agreed_s = spent_s

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    @property
    def share_of_limit(self) -> float:
        """Share of the time limit used: 1 when the time is up; 0 without a limit."""
        spent_s = self.seconds if self._agreed_s is None else self._agreed_s
        return spent_s / self._limit_s if self._limit_s else 0.0

    def time_batches(self, batches: Iterable[T], images: int) -> Iterator[T]:
        """Passes an epoch's batches on, noting how long each was waited for."""
        self._epoch_began = asked = time.monotonic()
        self._waited_s, self._images = 0.0, 0
        for batch in batches:
            self._waited_s += time.monotonic() - asked
            self._images += images
            yield batch
            asked = time.monotonic()

    def note_step(self) -> None:
        """Takes the rates of the current epoch, the batch in progress counted as done."""
        spent_s = max(time.monotonic() - self._epoch_began, 1e-9)
        self.images_per_s = self._images / spent_s
        self.data_wait_share = self._waited_s / spent_s

    def note_saved(self) -> None:
        self._saved = time.monotonic()

    @property
    def seconds_since_saved(self) -> float:
        return time.monotonic() - self._saved
