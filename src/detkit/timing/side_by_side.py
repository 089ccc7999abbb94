"""How long calls take beside each other, or that this machine is too busy to say.

As in `bench`: wall time where nothing else runs, else the CPU time of the calling thread, where
that does the work. Either counts only if its blocks agree. Where neither does, nothing is claimed.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from detkit.timing.cpu_time import works_in_caller
from detkit.timing.measure import TimedCall, Timing, measure
from detkit.timing.plan import GRAPH_PLAN
from detkit.timing.statistics import Blocks, interval_of, quartile_ratio, quartile_ratios_drawn
from detkit.timing.validity import cpu_use, load_warnings

MAX_WIDTH = 0.2  # of the 95 % interval of a ratio, as a share of it
NOT_MEASURED = "not measured: the machine is busy"
CLOCKS = {"wall": "", "cpu": "by CPU time, as other programs ran", "": NOT_MEASURED}


@dataclass(frozen=True)
class Ratio:
    """A time over another, and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class SideBySide:
    """What was measured of calls that took turns.

    Attributes:
        clock: a key of `CLOCKS`: what `ratio` is by.
        p50_ms: median wall time of each; None where other programs lengthened it.
        ratio: the last call over the first; None where the machine was too busy to tell.
    """

    clock: str
    p50_ms: tuple[float | None, ...]
    ratio: Ratio | None


def time_side_by_side(calls: Sequence[TimedCall], *, threads: int) -> SideBySide:
    """Times one call alone, or two in turns, on engines that have so many threads."""
    for call in calls:
        call(0)
    on_caller = all(works_in_caller(call, threads) for call in calls)
    cpu_clock = time.thread_time if on_caller else None
    before = cpu_use()
    timings = measure(calls, GRAPH_PLAN, time.perf_counter, cpu_clock=cpu_clock)
    return judge(timings, is_disturbed=any(load_warnings(before, cpu_use())))


def judge(timings: Sequence[Timing], *, is_disturbed: bool) -> SideBySide:
    """Takes what can be trusted; `is_disturbed` says that other programs used the CPU."""
    p50_ms = tuple(None if is_disturbed else timing.p50_ms for timing in timings)
    candidates = [] if is_disturbed else [("wall", [timing.blocks_ms for timing in timings])]
    if all(timing.cpu_ms for timing in timings):
        candidates.append(("cpu", [timing.cpu_ms for timing in timings]))
    for clock, blocks in candidates:
        ratio = _ratio(blocks[-1], blocks[0])
        if ratio.high - ratio.low <= MAX_WIDTH * ratio.value:
            return SideBySide(clock, p50_ms, ratio)
    return SideBySide("", (None,) * len(timings), None)


def _ratio(blocks: Blocks, first: Blocks) -> Ratio:
    interval = interval_of(quartile_ratios_drawn(blocks, first))
    return Ratio(quartile_ratio(blocks, first), interval.low, interval.high)
