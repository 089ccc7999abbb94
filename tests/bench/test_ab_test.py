"""Models in turns, by a clock that moves when a model says so and, where wanted, disturbs them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from detkit.bench.ab_test import LEAST_GROUPS, MAX_TIMES_LONGER, PAIRS, ab_test, is_decided
from detkit.timing.measure import Clocks
from detkit.timing.statistics import Interval


class Machine:
    """A clock; `noise` is drawn for every call and lengthens it."""

    def __init__(self, noise: Callable[[], float] = lambda: 0.0) -> None:
        self.now, self.noise = 0.0, noise
        self.log: list[str] = []

    def __call__(self) -> float:
        return self.now

    def model(self, name: str, ms: float) -> Callable[[int], None]:
        def run(index: int) -> None:
            self.log.append(name)
            self.now += ms / 1e3 * (1 + self.noise())

        return run


def busy(seed: int) -> Callable[[], float]:
    """Half of the calls are lengthened by up to 300 %, the others by about 1 %."""
    rng = np.random.default_rng(seed)
    return lambda: rng.uniform(0, 3) if rng.random() < 0.5 else abs(rng.normal(0, 0.01))


def test_models_alternate_call_by_call_in_reversed_order() -> None:
    machine = Machine()
    ab_test(
        machine.model("A", 1),
        machine.model("B", 1),
        limit=0.05,
        min_seconds=0,
        clocks=Clocks(machine),
    )
    assert "".join(machine.log[:8]) == "BAABBAAB"
    assert machine.log.count("A") == machine.log.count("B") == LEAST_GROUPS * PAIRS


def test_a_quiet_machine_tells_the_exact_change_at_once() -> None:
    machine = Machine()
    found = ab_test(
        machine.model("A", 10),
        machine.model("B", 10.5),
        limit=0.03,
        min_seconds=0,
        clocks=Clocks(machine),
    )
    assert found.change == pytest.approx(0.05)
    assert found.interval.low == pytest.approx(0.04, abs=0.002)  # by what sessions differ
    assert found.interval.high == pytest.approx(0.06, abs=0.002)
    assert len(found.old.wall) == LEAST_GROUPS


@pytest.mark.parametrize("seed", range(8))
def test_a_busy_machine_tells_5_percent_from_none(seed: int) -> None:
    machine = Machine(busy(seed))
    slower = ab_test(
        machine.model("A", 10),
        machine.model("B", 10.5),
        limit=0.03,
        min_seconds=3,
        clocks=Clocks(machine),
    )
    assert slower.interval.low > 0.03
    same = ab_test(
        machine.model("A", 10),
        machine.model("B", 10),
        limit=0.03,
        min_seconds=3,
        clocks=Clocks(machine),
    )
    assert same.interval.low < 0.03
    assert abs(same.change) < 0.01


def test_it_goes_on_while_the_limit_is_inside_the_interval_but_not_for_ever() -> None:
    machine = Machine(busy(0))
    found = ab_test(
        machine.model("A", 10),
        machine.model("B", 10.3),
        limit=0.03,
        min_seconds=0,
        clocks=Clocks(machine),
    )
    assert found.interval.low < 0.03 < found.interval.high
    assert len(found.new.wall) == MAX_TIMES_LONGER * LEAST_GROUPS


def test_decided_is_an_interval_on_one_side_of_the_limit() -> None:
    assert is_decided(Interval(0.031, 0.2), 0.03)
    assert is_decided(Interval(-0.01, 0.029), 0.03)
    assert not is_decided(Interval(0.02, 0.04), 0.03)


class BusyMachine(Machine):
    """Calls wait their turn for up to ten times as long; the CPU time is the model's own."""

    def __init__(self) -> None:
        rng = np.random.default_rng(1)
        super().__init__(lambda: rng.uniform(0, 10))
        self.cpu = 0.0

    def model(self, name: str, ms: float) -> Callable[[int], None]:
        run = super().model(name, ms)

        def run_and_count(index: int) -> None:
            run(index)
            self.cpu += ms / 1e3

        return run_and_count

    def clocks(self) -> Clocks:
        return Clocks(self, lambda: self.cpu)


@pytest.mark.parametrize("new_ms", [10.0, 10.5])
def test_while_others_disturb_it_the_cpu_time_decides(new_ms: float) -> None:
    machine = BusyMachine()
    found = ab_test(
        machine.model("A", 10),
        machine.model("B", new_ms),
        limit=0.03,
        min_seconds=0,
        clocks=machine.clocks(),
        is_disturbed=lambda: True,
    )
    assert found.by_cpu
    assert found.change == pytest.approx(new_ms / 10 - 1)
    assert found.interval.high - found.interval.low < 0.025


def test_wall_time_decides_where_nothing_disturbs_it_or_there_is_no_other() -> None:
    machine = BusyMachine()
    models = machine.model("A", 10), machine.model("B", 10)
    quiet = ab_test(*models, limit=9, min_seconds=0, clocks=machine.clocks())
    assert not quiet.by_cpu
    alone = Clocks(machine)
    assert not ab_test(
        *models, limit=9, min_seconds=0, clocks=alone, is_disturbed=lambda: True
    ).by_cpu
