"""Which clock a ratio is by, and when there is none."""

from __future__ import annotations

import time

import numpy as np
import pytest

from detkit.timing.measure import Timing, Warmup
from detkit.timing.side_by_side import judge, time_side_by_side


def timing(ms: float, cpu_ms: float = 0.0, *, noise: float = 0.0, seed: int = 0) -> Timing:
    """Ten blocks of three runs; wall times vary by `noise`, CPU times hardly."""
    spread = 1 + noise * np.random.default_rng(seed).random((10, 3))
    wall = tuple(tuple(row) for row in (ms * spread).tolist())
    cpu = tuple((cpu_ms,) * 3 for _ in range(10)) if cpu_ms else ()
    return Timing(Warmup(1, 1e-3, steady=True), wall, cpu_ms=cpu)


def test_wall_time_counts_where_nothing_else_runs() -> None:
    found = judge([timing(4.0, 3.0), timing(2.0, 2.0)], is_disturbed=False)
    assert found.clock == "wall"
    assert found.p50_ms == (4.0, 2.0)
    assert found.ratio is not None
    assert found.ratio.value == pytest.approx(0.5)


def test_cpu_time_counts_where_other_programs_lengthen_wall_time() -> None:
    first, second = timing(70.0, 3.0, noise=9), timing(4.0, 2.0, noise=9, seed=1)
    for is_disturbed in (True, False):  # by what the kernel says, or by what the blocks say
        found = judge([first, second], is_disturbed=is_disturbed)
        assert found.clock == "cpu"
        assert found.ratio is not None
        assert found.ratio.value == pytest.approx(2 / 3)
    assert judge([first, second], is_disturbed=True).p50_ms == (None, None)


def test_where_neither_can_say_nothing_is_claimed() -> None:
    found = judge([timing(70.0, noise=9), timing(4.0, noise=9, seed=1)], is_disturbed=True)
    assert (found.clock, found.p50_ms, found.ratio) == ("", (None, None), None)


def test_a_call_alone_has_its_time() -> None:
    assert judge([timing(4.0)], is_disturbed=False).p50_ms == (4.0,)


def test_calls_are_timed_in_turns() -> None:
    calls: list[int] = []

    def call(which: int) -> None:
        calls.append(which)
        time.sleep(1e-4)

    found = time_side_by_side([lambda _: call(0), lambda _: call(1)], threads=1)
    assert set(calls) == {0, 1}
    assert len(found.p50_ms) == 2
