"""Several batches in flight: work that sleeps, so that it needs threads and no CPU."""

from __future__ import annotations

import threading
import time

import pytest

from detkit.timing.plan import TimingPlan
from detkit.timing.throughput import (
    ThroughputRunner,
    ThroughputTiming,
    measure_throughput,
    warm_up_throughput,
)

QUICK = TimingPlan(min_seconds=0.2, min_runs=20, blocks=4, warmup_seconds=0)


def nap(index: int) -> None:
    time.sleep(0.005)


def test_sessions_run_at_the_same_time() -> None:
    together = threading.Barrier(3, timeout=5)
    with ThroughputRunner([lambda index: together.wait()] * 3, time.perf_counter) as runner:
        block = runner.run_for(seconds=0, least_runs=4)
    assert len(block.ms) == 12


def test_the_rate_grows_with_the_batches_in_flight_and_not_their_time() -> None:
    with (
        ThroughputRunner([nap], time.perf_counter) as one,
        ThroughputRunner([nap] * 4, time.perf_counter) as four,
    ):
        alone, crowd = one.run_for(0.3), four.run_for(0.3)
    assert alone.ms_per_batch / crowd.ms_per_batch == pytest.approx(4, rel=0.3)
    assert min(crowd.ms) >= 5


def test_no_thread_gets_the_inputs_of_another() -> None:
    seen: list[list[int]] = [[], []]
    with ThroughputRunner([seen[0].append, seen[1].append], time.perf_counter) as runner:
        runner.run_for(seconds=0, least_runs=3)
    assert set(seen[0]).isdisjoint(seen[1])
    assert sorted(seen[0] + seen[1]) == list(range(2, 8))


def test_flows_take_turns_for_the_longer_of_both_floors() -> None:
    looks = []
    with (
        ThroughputRunner([nap] * 2, time.perf_counter) as a,
        ThroughputRunner([nap], time.perf_counter) as b,
    ):
        timings = measure_throughput([a, b], QUICK, lambda: looks.append(1))
    assert len(looks) == QUICK.blocks
    for timing in timings:
        assert isinstance(timing, ThroughputTiming)
        assert len(timing.samples_ms) >= QUICK.min_runs
        assert len(timing.block_ms) == QUICK.blocks
    ratio = timings[1].block_ms[0] / timings[0].block_ms[0]
    assert ratio == pytest.approx(2, rel=0.4)


def test_the_warm_up_ends_when_the_rate_no_longer_rises() -> None:
    with ThroughputRunner([nap], time.perf_counter) as runner:
        found = warm_up_throughput(runner, TimingPlan(warmup_seconds=0, max_warmup_seconds=2))
    assert found.steady
    assert found.runs >= 20


def test_an_error_in_a_thread_is_told() -> None:
    def fail(index: int) -> None:
        raise ValueError("no batch")

    with (
        ThroughputRunner([fail], time.perf_counter) as runner,
        pytest.raises(ValueError, match="no batch"),
    ):
        runner.run_for(0)
