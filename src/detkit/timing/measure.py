"""The timing core: which call is made when. The clock is an argument.

Several models take turns, block by block, in an order that is reversed every time (A B, B A, ...),
so that a machine that slows down slows them all; ratios are taken between neighbouring blocks.
What lives elsewhere: what times say (see `timing.statistics`), models and images (see `bench.run`),
the machine (see `machine`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, TypeVar

import numpy as np

from detkit.runtime.graph_session import DeviceTimes
from detkit.timing.plan import TimingPlan
from detkit.timing.statistics import LOWER_QUARTILE, Blocks

Clock = Callable[[], float]  # seconds
TimedCall = Callable[[int], object]  # one call, on the input of this number
Input = TypeVar("Input")
WINDOW = 5  # runs of the warm-up whose medians are compared


def cycle_inputs(call: Callable[[Input], object], inputs: Sequence[Input]) -> TimedCall:
    """Makes a timed call of `call`, which gets the inputs in turn."""
    return lambda index: call(inputs[index % len(inputs)])


@dataclass(frozen=True)
class Warmup:
    """How many runs it took until the times no longer fell, and their median there in seconds."""

    runs: int
    seconds_per_run: float
    steady: bool


@dataclass(frozen=True)
class Timing:
    """One model's wall times in ms, block by block, in the order they were taken.

    In the same order, `cpu_ms` are the CPU times of the calling thread and `device` what runs
    returned as their device's own times; both are empty where they were not taken.
    """

    warmup: Warmup
    blocks_ms: tuple[tuple[float, ...], ...]
    device: tuple[tuple[DeviceTimes, ...], ...] = ()
    cpu_ms: tuple[tuple[float, ...], ...] = ()

    @property
    def samples_ms(self) -> tuple[float, ...]:
        return tuple(sample for block in self.blocks_ms for sample in block)

    @property
    def p50_ms(self) -> float:
        return median(self.samples_ms)

    @property
    def block_medians_ms(self) -> tuple[float, ...]:
        return tuple(median(block) for block in self.blocks_ms)

    @property
    def block_ms(self) -> tuple[float, ...]:
        """The lower quartile of each block, which other programs lengthen least."""
        return _lower_quartiles(self.blocks_ms)

    @property
    def block_cpu_ms(self) -> tuple[float, ...]:
        """The lower quartile of each block in CPU time; empty where it was not taken."""
        return _lower_quartiles(self.cpu_ms)

    @property
    def block_spread(self) -> float:
        """Spread of the block medians from their 10th to their 90th percentile, over their median.

        So one block that was disturbed is not held against all others.
        """
        low, middle, high = np.percentile(self.block_medians_ms, [10, 50, 90]).tolist()
        return float((high - low) / middle)


def _lower_quartiles(blocks: Blocks) -> tuple[float, ...]:
    return tuple(float(np.percentile(block, LOWER_QUARTILE)) for block in blocks)


@dataclass(frozen=True)
class _Block:
    ms: tuple[float, ...]
    device: tuple[DeviceTimes, ...]
    cpu_ms: tuple[float, ...]


@dataclass(frozen=True)
class Clocks:
    """The clocks of a measurement: `wall` times runs, `cpu` (where there is one) their thread."""

    wall: Clock
    cpu: Clock | None = None


@dataclass
class _BlockTimer:
    """Times one model, a block whenever it is its turn."""

    run: TimedCall
    warmup: Warmup
    runs_per_block: int
    blocks: list[_Block] = field(default_factory=list)

    def time_block(self, clocks: Clocks) -> None:
        done = len(self.blocks) * self.runs_per_block
        self.blocks.append(_time_block(self.run, done, self.runs_per_block, clocks))

    @property
    def timing(self) -> Timing:
        device = tuple(block.device for block in self.blocks)
        blocks_ms = tuple(block.ms for block in self.blocks)
        cpu_ms = tuple(block.cpu_ms for block in self.blocks)
        return Timing(
            self.warmup, blocks_ms, device if all(device) else (), cpu_ms if all(cpu_ms) else ()
        )


def measure(
    models: Sequence[TimedCall],
    plan: TimingPlan | Sequence[TimingPlan],
    clock: Clock,
    between: Callable[[], object] = lambda: None,
    cpu_clock: Clock | None = None,
) -> list[Timing]:
    """Warms every model up, then times them in interleaved blocks of about equal duration.

    Args:
        plan: one for all, or one for each, of equally many blocks.
        between: called after each round of blocks.
        cpu_clock: of the calling thread.
    """
    plans = [plan] * len(models) if isinstance(plan, TimingPlan) else list(plan)
    timers = []
    for run, own in zip(models, plans, strict=True):
        warmup = warm_up(run, own, clock)
        timers.append(_BlockTimer(run, warmup, _runs_per_block(warmup, own)))
    turns, clocks = list(timers), Clocks(clock, cpu_clock)
    for _ in range(plans[0].blocks):
        for timer in turns:
            if len(timers) > 1:
                timer.run(0)  # untimed: its caches and threads were the last model's
            timer.time_block(clocks)
        turns.reverse()
        between()
    return [timer.timing for timer in timers]


def warm_up(run: TimedCall, plan: TimingPlan, clock: Clock) -> Warmup:
    """Runs until `warmup_seconds` are over and the times no longer fall, or the limit is reached.

    Only a fall counts: noise that makes a window slower is no reason to go on.
    """
    start, runs, previous = clock(), 0, math.inf
    while True:
        window = median(_time_block(run, runs, WINDOW, Clocks(clock)).ms) / 1e3
        runs += WINDOW
        steady = window >= previous * (1 - plan.steady)
        elapsed = clock() - start
        if (steady and elapsed >= plan.warmup_seconds) or elapsed >= plan.max_warmup_seconds:
            return Warmup(runs, window, steady)
        previous = window


def _runs_per_block(warmup: Warmup, plan: TimingPlan) -> int:
    by_time = plan.min_seconds / max(warmup.seconds_per_run, 1e-9) / plan.blocks
    return max(plan.min_runs_per_block, math.ceil(by_time))


def time_run(run: TimedCall, index: int, clocks: Clocks) -> tuple[float, float, object]:
    """Times one call: ms of wall time, ms of the thread's CPU time or 0, and its result."""
    cpu = clocks.cpu or (lambda: 0.0)
    cpu_start, start = cpu(), clocks.wall()
    found = run(index)
    wall_ms = (clocks.wall() - start) * 1e3
    return wall_ms, (cpu() - cpu_start) * 1e3, found


def _time_block(run: TimedCall, first: int, count: int, clocks: Clocks) -> _Block:
    """Times `count` calls, on the inputs numbered from `first`."""
    times, cpu_times, device = [], [], []
    for index in range(first, first + count):
        wall_ms, cpu_ms, found = time_run(run, index, clocks)
        times.append(wall_ms)
        cpu_times.append(cpu_ms)
        if isinstance(found, DeviceTimes):
            device.append(found)
    return _Block(tuple(times), tuple(device), tuple(cpu_times) if clocks.cpu else ())


def measure_chain(
    stages: Sequence[Callable[[Any], Any]], runs: int, clock: Clock
) -> list[tuple[float, ...]]:
    """Times each stage in ms, run by run; one untimed run goes first.

    The first stage gets the run's number, each other stage what the one before returned.
    """
    rows = []
    for index in range(-1, runs):
        value: Any = max(index, 0)
        marks = [clock()]
        for stage in stages:
            value = stage(value)
            marks.append(clock())
        if index >= 0:
            rows.append(tuple((b - a) * 1e3 for a, b in itertools.pairwise(marks)))
    return rows


def block_ratios(timing: Timing, first: Timing) -> list[float]:
    """Ratios, block by block, of this model's median to the first model's."""
    pairs = zip(timing.block_medians_ms, first.block_medians_ms, strict=True)
    return [mine / theirs for mine, theirs in pairs]


def paired_ratio(timing: Timing, first: Timing) -> float:
    """Median of the ratios of the blocks."""
    return median(block_ratios(timing, first))
