"""Calls timed in turns, so that a busy machine slows all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from rows import Row

from detkit.runtime.session import Session, SessionOptions

ONE_THREAD = SessionOptions(threads=1)
Call = Callable[[], object]


def caller(session: Session, images: Any) -> Call:
    return lambda: session.run(images)


def time_in_turns(calls: dict[str, Call], *, rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each call, all of them once a round, after three untimed rounds."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(rounds + 3):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            if number >= 3:
                times[name].append((time.perf_counter() - began) * 1e3)
    return times


def ratios(slow: Sequence[float], fast: Sequence[float]) -> Row:
    """How many times faster: of the fastest tenths, and the median over rounds."""
    return {
        "slow_ms": round(float(np.median(slow)), 3),
        "fast_ms": round(float(np.median(fast)), 3),
        "times_faster": round(float(np.percentile(slow, 10) / np.percentile(fast, 10)), 3),
        "times_faster_median": round(float(np.median(np.array(slow) / np.array(fast))), 3),
    }
