"""Several batches in flight: every session of a model is kept busy by a thread of its own.

Engines let go of the interpreter while they compute. The rate of a block is the sum over the
threads of batches done over the time they took, so that neither start nor end is idle time.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from detkit.timing.measure import Clock, TimedCall, Timing, Warmup
from detkit.timing.plan import TimingPlan

WINDOW_SECONDS = 0.2  # of the warm-up


@dataclass(frozen=True)
class ThroughputBlock:
    """Milliseconds of each batch under load, and of wall time for each batch done."""

    ms: tuple[float, ...]
    ms_per_batch: float


@dataclass(frozen=True)
class ThroughputTiming(Timing):
    """Times under load: `blocks_ms` of single batches, `ms_per_batch` of a block per batch done."""

    ms_per_batch: tuple[float, ...] = ()

    @property
    def block_medians_ms(self) -> tuple[float, ...]:
        return self.ms_per_batch

    @property
    def block_ms(self) -> tuple[float, ...]:
        return self.ms_per_batch


class ThroughputRunner:
    """The sessions of one model and their threads; close it with `with`."""

    def __init__(self, runs: Sequence[TimedCall], clock: Clock) -> None:
        self.in_flight = len(runs)
        self._runs, self._clock = runs, clock
        self._pool = ThreadPoolExecutor(len(runs))

    def __enter__(self) -> ThroughputRunner:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def run_for(self, seconds: float, least_runs: int = 1) -> ThroughputBlock:
        """Runs until the time is over and every thread has done its `least_runs`."""
        together = threading.Barrier(self.in_flight)

        def keep_busy(number: int) -> list[float]:
            together.wait()
            marks = [self._clock()]
            while marks[-1] - marks[0] < seconds or len(marks) <= least_runs:
                self._runs[number](number + self.in_flight * len(marks))
                marks.append(self._clock())
            return marks

        threads = [self._pool.submit(keep_busy, number) for number in range(self.in_flight)]
        marks = [thread.result() for thread in threads]
        rate = sum((len(own) - 1) / max(own[-1] - own[0], 1e-9) for own in marks)
        times = [(b - a) * 1e3 for own in marks for a, b in itertools.pairwise(own)]
        return ThroughputBlock(tuple(times), 1e3 / rate)


def measure_throughput(
    runners: Sequence[ThroughputRunner],
    plan: TimingPlan,
    between: Callable[[], object] = lambda: None,
) -> list[ThroughputTiming]:
    """Warms every runner up, then lets them take turns, block by block, as `measure` does."""
    warmups = [warm_up_throughput(runner, plan) for runner in runners]
    blocks: list[list[ThroughputBlock]] = [[] for _ in runners]
    turns = list(range(len(runners)))
    for _ in range(plan.blocks):
        for index in turns:
            own_runs = -(-plan.min_runs_per_block // runners[index].in_flight)
            blocks[index].append(runners[index].run_for(plan.min_seconds / plan.blocks, own_runs))
        turns.reverse()
        between()
    return [
        ThroughputTiming(
            warmup,
            tuple(block.ms for block in blocks_of_model),
            ms_per_batch=tuple(block.ms_per_batch for block in blocks_of_model),
        )
        for warmup, blocks_of_model in zip(warmups, blocks, strict=True)
    ]


def warm_up_throughput(runner: ThroughputRunner, plan: TimingPlan) -> Warmup:
    """Runs until the rate no longer rises, within the plan's time."""
    runs, seconds, previous = 0, 0.0, float("inf")
    while True:
        block = runner.run_for(WINDOW_SECONDS)
        runs, seconds = runs + len(block.ms), seconds + WINDOW_SECONDS
        steady = block.ms_per_batch >= previous * (1 - plan.steady)
        if (steady and seconds >= plan.warmup_seconds) or seconds >= plan.max_warmup_seconds:
            return Warmup(runs, block.ms_per_batch / 1e3, steady)
        previous = block.ms_per_batch
