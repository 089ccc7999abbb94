"""The timing core: which call is made when, and what its times say. The clock is an argument.

Several models take turns, block by block, in an order that is reversed every time (A B, B A, ...),
so that a machine that slows down slows them all; ratios are taken between neighbouring blocks.
What lives elsewhere: models and pictures (see `bench.run`), the machine (see `bench.fingerprint`).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from detkit.report import LatencyStats

Clock = Callable[[], float]  # seconds
Run = Callable[[int], object]  # one call, on the input of this number
WINDOW = 5  # runs of the warm-up whose medians are compared


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How long to measure a model: both floors hold, whichever takes longer."""

    min_seconds: float = 3.0
    min_runs: int = 200
    blocks: int = 10
    warmup_seconds: float = 0.5
    max_warmup_seconds: float = 10.0
    steady: float = 0.02  # the warm-up ends when a window is not faster by more than this
    chain_runs: int = 50  # of the end-to-end chain


@dataclass(frozen=True)
class Warmup:
    """What it took until the times no longer fell, and the median there in seconds."""

    runs: int
    seconds_per_run: float
    steady: bool


@dataclass(frozen=True)
class Timing:
    """One model's times in ms, block by block, in the order they were taken."""

    warmup: Warmup
    blocks_ms: tuple[tuple[float, ...], ...]

    @property
    def samples_ms(self) -> tuple[float, ...]:
        return tuple(sample for block in self.blocks_ms for sample in block)

    @property
    def block_spread(self) -> float:
        """Largest minus smallest block median, over the median of all."""
        medians = [median(block) for block in self.blocks_ms]
        return (max(medians) - min(medians)) / median(self.samples_ms)


def measure(models: Sequence[Run], plan: Plan, clock: Clock) -> list[Timing]:
    """Warms every model up, then times them in interleaved blocks of about equal duration."""
    warmups = [warm_up(run, plan, clock) for run in models]
    lengths = [_runs_per_block(warmup, plan) for warmup in warmups]
    blocks: list[list[tuple[float, ...]]] = [[] for _ in models]
    turns = list(range(len(models)))
    for _ in range(plan.blocks):
        for index in turns:
            if len(models) > 1:
                models[index](0)  # untimed: its caches and threads were the last model's
            done = len(blocks[index]) * lengths[index]
            blocks[index].append(_time_block(models[index], done, lengths[index], clock))
        turns.reverse()
    return [Timing(warmup, tuple(b)) for warmup, b in zip(warmups, blocks, strict=True)]


def warm_up(run: Run, plan: Plan, clock: Clock) -> Warmup:
    """Runs until `warmup_seconds` are over and the times no longer fall, or the limit is reached.

    Only a fall counts: noise that makes a window slower is no reason to go on.
    """
    start, runs, previous = clock(), 0, math.inf
    while True:
        window = median(_time_block(run, runs, WINDOW, clock)) / 1e3
        runs += WINDOW
        steady = window >= previous * (1 - plan.steady)
        elapsed = clock() - start
        if (steady and elapsed >= plan.warmup_seconds) or elapsed >= plan.max_warmup_seconds:
            return Warmup(runs, window, steady)
        previous = window


def _runs_per_block(warmup: Warmup, plan: Plan) -> int:
    runs = max(plan.min_runs, plan.min_seconds / max(warmup.seconds_per_run, 1e-9))
    return math.ceil(runs / plan.blocks)


def _time_block(run: Run, first: int, count: int, clock: Clock) -> tuple[float, ...]:
    """Milliseconds of `count` calls, on the inputs numbered from `first`."""
    times = []
    for index in range(first, first + count):
        start = clock()
        run(index)
        times.append((clock() - start) * 1e3)
    return tuple(times)


def measure_chain(
    stages: Sequence[Callable[[Any], Any]], runs: int, clock: Clock
) -> list[tuple[float, ...]]:
    """Milliseconds of each stage, run by run. The first stage gets the run's number, each other
    stage what the one before returned. One untimed run goes first.
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


def latency_stats(samples_ms: Sequence[float]) -> LatencyStats:
    """Percentiles by linear interpolation; `spread` is the interquartile range over the median."""
    p25, p50, p75, p90, p99 = np.percentile(samples_ms, [25, 50, 75, 90, 99]).tolist()
    return LatencyStats(
        p50=p50,
        p90=p90,
        p99=p99,
        mean=float(np.mean(samples_ms)),
        min=min(samples_ms),
        spread=(p75 - p25) / p50,
        count=len(samples_ms),
    )


def paired_ratio(timing: Timing, first: Timing) -> float:
    """Median over the blocks of this model's block median over the first model's."""
    pairs = zip(timing.blocks_ms, first.blocks_ms, strict=True)
    return median(median(mine) / median(theirs) for mine, theirs in pairs)
