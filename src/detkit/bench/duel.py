"""Two models in turns until one is known to be slower by more than a limit, or not.

They alternate call by call (A B B A), so both meet the same machine, also a busy one; what is
compared is the lower quartile of their calls, which other programs lengthen least: on two busy
cores the ratio of quartiles of identical models strayed from 1 by a few tenths of a percent where
that of medians strayed by one. Its interval is a bootstrap over groups of neighbouring calls.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from detkit.bench.measure import Clock, Run
from detkit.bench.statistics import Interval, interval_of, quartile_ratio, quartile_ratios_drawn
from detkit.bench.throughput import Flow

PAIRS = 10  # calls of each model in a group
LEAST_GROUPS = 20
MAX_TIMES_LONGER = 5  # than the plan, while nothing is decided
FLOW_SECONDS = 0.1  # of one turn of a model with several batches in flight


@dataclass
class Duel:
    """Milliseconds of the old and the new model, group by group."""

    old: list[list[float]] = field(default_factory=list)
    new: list[list[float]] = field(default_factory=list)

    @property
    def change(self) -> float:
        """New / old - 1."""
        return quartile_ratio(self.new, self.old) - 1

    @property
    def interval(self) -> Interval:
        return interval_of(quartile_ratios_drawn(self.new, self.old) - 1)


def is_decided(interval: Interval, limit: float) -> bool:
    """The interval lies on one side of the limit."""
    return interval.low > limit or interval.high < limit


def duel(old: Run, new: Run, *, limit: float, min_seconds: float, clock: Clock) -> Duel:
    """Alternates calls of two warm models."""

    def group(number: int) -> tuple[list[float], list[float]]:
        times: tuple[list[float], list[float]] = ([], [])
        for pair in range(PAIRS):
            index = number * PAIRS + pair
            for which in (0, 1) if pair % 2 else (1, 0):
                start = clock()
                (old, new)[which](index)
                times[which].append((clock() - start) * 1e3)
        return times

    return _until_decided(group, limit, min_seconds, clock)


def duel_of_flows(old: Flow, new: Flow, *, limit: float, min_seconds: float, clock: Clock) -> Duel:
    """Alternates short turns of two warm models; a turn counts by its time per batch."""

    def group(number: int) -> tuple[list[float], list[float]]:
        pair = (old, new) if number % 2 else (new, old)
        first, second = ([flow.flow(FLOW_SECONDS).ms_per_batch] for flow in pair)
        return (first, second) if number % 2 else (second, first)

    return _until_decided(group, limit, min_seconds, clock)


def _until_decided(
    group: Callable[[int], tuple[Sequence[float], Sequence[float]]],
    limit: float,
    min_seconds: float,
    clock: Clock,
) -> Duel:
    """Looks at the interval only after each `min_seconds`, at most `MAX_TIMES_LONGER` times."""
    found, number = Duel(), 0
    for _ in range(MAX_TIMES_LONGER):
        start, first = clock(), number
        while clock() - start < min_seconds or number - first < LEAST_GROUPS:
            old_ms, new_ms = group(number)
            found.old.append(list(old_ms))
            found.new.append(list(new_ms))
            number += 1
        if is_decided(found.interval, limit):
            break
    return found
