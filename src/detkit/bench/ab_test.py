"""An interleaved A/B test: two models in turns until it is known which one is slower.

They alternate call by call (A B B A), so both meet the same machine, also a busy one. Compared is
the lower quartile of their calls, which other programs lengthen least; its interval is a bootstrap
over groups of neighbouring calls. While other programs use too much of the CPU it is the quartile
of the calling thread's CPU time: with 17 programs on two cores, three runs each, the interval of
the change was +-0.7 % wide where that of wall time was +-7 %, with one thread and with two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from detkit.timing.measure import Clock, Clocks, TimedCall, time_run
from detkit.timing.statistics import (
    Interval,
    interval_of,
    over_sessions,
    quartile_ratio,
    quartile_ratios_drawn,
)
from detkit.timing.throughput import ThroughputRunner

PAIRS = 10  # calls of each model in a group
LEAST_GROUPS = 20
MAX_TIMES_LONGER = 5  # than the plan, while nothing is decided
TURN_SECONDS = 0.1  # of one turn of a model with several batches in flight


@dataclass
class Times:
    """Milliseconds of one model, group by group; `cpu` stays empty where it is not taken."""

    wall: list[Sequence[float]] = field(default_factory=list)
    cpu: list[Sequence[float]] = field(default_factory=list)


@dataclass
class ABTest:
    """The times of both models, and by which of them they are judged."""

    old: Times = field(default_factory=Times)
    new: Times = field(default_factory=Times)
    by_cpu: bool = False

    @property
    def change(self) -> float:
        """The change of time: new / old - 1."""
        return quartile_ratio(*self._judged()) - 1

    @property
    def interval(self) -> Interval:
        return interval_of(over_sessions(quartile_ratios_drawn(*self._judged())) - 1)

    def _judged(self) -> tuple[Sequence[Sequence[float]], Sequence[Sequence[float]]]:
        if self.by_cpu:
            return self.new.cpu, self.old.cpu
        return self.new.wall, self.old.wall


def is_decided(interval: Interval, limit: float) -> bool:
    """Whether the interval lies on one side of the limit."""
    return interval.low > limit or interval.high < limit


def ab_test(
    old: TimedCall,
    new: TimedCall,
    *,
    limit: float,
    min_seconds: float,
    clocks: Clocks,
    is_disturbed: Callable[[], bool] = lambda: False,
) -> ABTest:
    """Alternates calls of two warm models.

    Args:
        is_disturbed: whether other programs have used too much of the CPU so far.
    """
    found = ABTest()

    def take_turns(number: int) -> None:
        rows: tuple[list[tuple[float, float]], ...] = ([], [])
        for pair in range(PAIRS):
            for which in (0, 1) if pair % 2 else (1, 0):
                wall, cpu, _ = time_run((old, new)[which], number * PAIRS + pair, clocks)
                rows[which].append((wall, cpu))
        for times, row in zip((found.old, found.new), rows, strict=True):
            times.wall.append([wall for wall, _ in row])
            if clocks.cpu is not None:
                times.cpu.append([cpu for _, cpu in row])

    _until_decided(found, take_turns, limit, min_seconds, clocks.wall, is_disturbed)
    return found


def ab_test_of_throughput(
    old: ThroughputRunner, new: ThroughputRunner, *, limit: float, min_seconds: float, clock: Clock
) -> ABTest:
    """Alternates short turns of two warm models; a turn counts by its time per batch."""
    found = ABTest()

    def take_turns(number: int) -> None:
        both = [(old, found.old), (new, found.new)]
        for runner, times in both if number % 2 else reversed(both):
            times.wall.append([runner.run_for(TURN_SECONDS).ms_per_batch])

    _until_decided(found, take_turns, limit, min_seconds, clock, lambda: False)
    return found


def _until_decided(
    found: ABTest,
    take_turns: Callable[[int], None],
    limit: float,
    min_seconds: float,
    clock: Clock,
    is_disturbed: Callable[[], bool],
) -> None:
    """Looks at the interval only after each `min_seconds`, at most `MAX_TIMES_LONGER` times."""
    for _ in range(MAX_TIMES_LONGER):
        start, first = clock(), len(found.old.wall)
        while clock() - start < min_seconds or len(found.old.wall) - first < LEAST_GROUPS:
            take_turns(len(found.old.wall))
        found.by_cpu = bool(found.old.cpu) and is_disturbed()
        if is_decided(found.interval, limit):
            break
