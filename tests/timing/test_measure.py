"""The timing core with a clock that only moves when a model says so."""

from __future__ import annotations

import pytest

from detkit.runtime.graph_session import DeviceTimes
from detkit.timing.measure import Timing, Warmup, measure, measure_chain, paired_ratio, warm_up
from detkit.timing.plan import TimingPlan


class FakeClock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Model:
    """Takes `first_ms` on its first run and comes nearer to `ms` by `settle` with each run."""

    def __init__(
        self,
        clock: FakeClock,
        ms: float,
        *,
        first_ms: float | None = None,
        settle: float = 0.5,
        log: list[str] | None = None,
        name: str = "",
    ) -> None:
        self.clock, self.ms, self.extra = clock, ms, (first_ms or ms) - ms
        self.settle, self.log, self.name = settle, log, name
        self.inputs: list[int] = []

    def __call__(self, index: int) -> None:
        self.clock.now += (self.ms + self.extra) / 1e3
        self.extra *= self.settle
        self.inputs.append(index)
        if self.log is not None:
            self.log.append(self.name)


QUICK = TimingPlan(min_seconds=0, min_runs=20, blocks=5, warmup_seconds=0)


def timing(*medians_ms: float) -> Timing:
    return Timing(Warmup(5, 0.01, True), tuple((ms, ms, ms) for ms in medians_ms))


@pytest.mark.parametrize(
    ("plan", "runs"),
    [
        (TimingPlan(min_seconds=3, min_runs=200), 300),  # 10 ms a run: 3 s are the longer
        (TimingPlan(min_seconds=1, min_runs=200), 200),  # 200 runs are the longer
        (TimingPlan(min_seconds=0, min_runs=7, blocks=5), 10),  # blocks are equally long
    ],
)
def test_a_model_is_timed_for_the_longer_of_both_floors(plan: TimingPlan, runs: int) -> None:
    clock = FakeClock()
    (found,) = measure([Model(clock, 10.0)], plan, clock)
    assert len(found.samples_ms) == runs
    assert len(found.blocks_ms) == plan.blocks
    assert found.samples_ms == pytest.approx([10.0] * runs)


def test_the_warm_up_goes_on_while_times_fall_and_its_runs_are_not_timed() -> None:
    clock = FakeClock()
    model = Model(clock, 10.0, first_ms=500.0, settle=0.8)
    (found,) = measure([model], QUICK, clock)
    assert found.warmup.steady
    assert found.warmup.runs > 20  # 490 ms * 0.8^n is below 2 % of 10 ms after 34 runs
    assert max(found.samples_ms) < 10.2


def test_a_warm_up_that_never_gets_steady_ends_at_its_limit_and_says_so() -> None:
    clock = FakeClock()
    slow_fall = Model(clock, 1.0, first_ms=1000.0, settle=0.99)
    found = warm_up(slow_fall, TimingPlan(max_warmup_seconds=20), clock)
    assert not found.steady
    assert 20 <= clock.now < 26


def test_the_warm_up_lasts_its_least_time_and_ignores_times_that_rise() -> None:
    clock = FakeClock()
    found = warm_up(Model(clock, 10.0), TimingPlan(warmup_seconds=0.5), clock)
    assert (found.runs, found.steady) == (50, True)
    rising = Model(clock, 100.0, first_ms=50.0, settle=0.9)
    assert warm_up(rising, TimingPlan(warmup_seconds=0), clock).runs == 10


def test_models_take_turns_in_reversed_order_each_time_and_restart_untimed() -> None:
    clock = FakeClock()
    log: list[str] = []
    a = Model(clock, 10.0, log=log, name="A")
    b = Model(clock, 20.0, log=log, name="B")
    found_a, found_b = measure([a, b], QUICK, clock)
    warmups = found_a.warmup.runs + found_b.warmup.runs
    assert "".join(log[warmups:]) == "AAAAABBBBBBBBBBAAAAA" * 2 + "AAAAABBBBB"
    assert len(found_a.samples_ms) == 20  # 4 of the 5 runs of each turn


def test_one_model_is_not_interrupted() -> None:
    clock = FakeClock()
    model = Model(clock, 10.0)
    (found,) = measure([model], QUICK, clock)
    assert len(model.inputs) == found.warmup.runs + 20


def test_inputs_rotate_through_all_timed_runs() -> None:
    clock = FakeClock()
    model = Model(clock, 10.0)
    (found,) = measure([model], QUICK, clock)
    assert model.inputs[found.warmup.runs :] == list(range(20))


def test_a_machine_that_slows_down_does_not_change_the_ratio() -> None:
    class Drifting(Model):
        def __call__(self, index: int) -> None:
            start = self.clock.now
            super().__call__(index)
            self.clock.now = start + (self.clock.now - start) * (1 + start)  # 100 % a second

    clock = FakeClock()
    a, b = Drifting(clock, 1.0), Drifting(clock, 2.0)
    plan = TimingPlan(min_seconds=0, min_runs=200, blocks=20, warmup_seconds=0)
    found_a, found_b = measure([a, b], plan, clock)
    assert found_a.block_spread > 0.5
    assert paired_ratio(found_b, found_a) == pytest.approx(2.0, rel=0.03)


def test_the_ratio_is_the_median_of_neighbouring_blocks() -> None:
    assert paired_ratio(timing(2, 4, 90), timing(1, 2, 3)) == 2
    assert paired_ratio(timing(3, 3, 3), timing(3, 3, 3)) == 1


def test_block_spread_is_the_range_of_block_medians_but_for_the_ends() -> None:
    assert timing(7, 7, 7).block_spread == 0
    assert timing(*range(95, 106)).block_spread == pytest.approx(0.08)
    assert timing(*[10] * 19, 90).block_spread == 0


def test_stages_of_a_chain_are_timed_apart_and_pass_their_results_on() -> None:
    clock, numbers = FakeClock(), []

    def decode(number: int) -> str:
        numbers.append(number)
        clock.now += 0.003
        return f"image {number}"

    def engine(image: str) -> str:
        assert image.startswith("image")
        clock.now += 0.010
        return image

    rows = measure_chain((decode, engine), 3, clock)
    assert rows == [pytest.approx((3.0, 10.0))] * 3
    assert numbers == [0, 0, 1, 2]  # the first one is not timed


def test_what_a_block_says_is_its_lower_quartile() -> None:
    found = Timing(Warmup(5, 0.01, True), ((1.0, 2.0, 3.0, 4.0, 90.0), (5.0,)))
    assert found.block_ms == (2.0, 5.0)
    assert found.block_medians_ms == (3.0, 5.0)


def test_plans_of_ones_own_and_a_look_between_the_rounds() -> None:
    clock = FakeClock()
    log: list[int] = []
    a, b = Model(clock, 10.0), Model(clock, 1.0)
    plans = [QUICK, TimingPlan(min_seconds=0, min_runs=10, blocks=5, warmup_seconds=0)]
    found_a, found_b = measure([a, b], plans, clock, lambda: log.append(len(a.inputs)))
    assert (len(found_a.samples_ms), len(found_b.samples_ms)) == (20, 10)
    assert len(log) == 5
    assert log[0] < log[-1] == len(a.inputs)


def test_times_of_a_device_are_kept_by_block() -> None:
    clock = FakeClock()
    model = Model(clock, 10.0)

    def run(index: int) -> DeviceTimes:
        model(index)
        return DeviceTimes(upload=1.0, compute=float(index), download=2.0)

    (found,) = measure([run], QUICK, clock)
    computed = [[times.compute for times in block] for block in found.device]
    assert computed == [[4 * n, 4 * n + 1, 4 * n + 2, 4 * n + 3] for n in range(5)]
    (alone,) = measure([model], QUICK, clock)
    assert alone.device == ()


def test_cpu_times_of_the_calling_thread_are_kept_where_there_is_its_clock() -> None:
    clock = FakeClock()
    model = Model(clock, 10.0)
    (found,) = measure([model], QUICK, clock, cpu_clock=lambda: 0.9 * clock.now)
    assert found.block_cpu_ms == pytest.approx([9.0] * 5)
    (without,) = measure([model], QUICK, clock)
    assert (without.cpu_ms, without.block_cpu_ms) == ((), ())
