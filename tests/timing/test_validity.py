from __future__ import annotations

import dataclasses

import pytest

from detkit.report import MachineState
from detkit.timing.validity import (
    CpuUse,
    cpu_use,
    doubts_of_load,
    doubts_of_states,
    doubts_of_times,
)

QUIET = CpuUse(total=100.0, busy=50.0, stolen=1.0, own=40.0)
COOL = MachineState(
    load_average=0.1, cpu_mhz=3000.0, temperatures_c={"cpu": 50.0}, throttles=3, power_w={}
)


def later(**changes: float) -> CpuUse:
    """Ten seconds of CPU time later, nine of them used by this process."""
    values = {"total": 110.0, "busy": 59.0, "own": 49.0} | changes
    return dataclasses.replace(QUIET, **values)


def states(**last) -> list[MachineState]:
    """Before, two rounds, after; the second round differs."""
    return [COOL, COOL, dataclasses.replace(COOL, **last), COOL]


def test_a_machine_left_alone_gives_no_reason_to_doubt():
    assert list(doubts_of_load(QUIET, later())) == []
    assert list(doubts_of_load(QUIET, QUIET)) == []
    assert list(doubts_of_states(states(), {})) == []
    even = {"steady": True, "warmup_runs": 10, "block_spread": 0.05, "runs": 100}
    assert list(doubts_of_times("m", **even)) == []


@pytest.mark.parametrize(
    ("changes", "reason", "cure"),
    [
        ({"own": 45.0}, "other programs used 40% of the CPU", "nothing else running"),
        ({"stolen": 1.5}, "the host took 5% of the CPU away", "shares its cores with nobody"),
    ],
)
def test_each_disturbance_is_told(changes, reason, cure):
    (found,) = doubts_of_load(QUIET, later(**changes))
    assert reason in found.reason
    assert cure in found.cure
    assert found.of_others


@pytest.mark.parametrize(
    ("change", "reason", "cure"),
    [
        ({"cpu_mhz": 2900.0}, "CPU's clock went from 2900 to 3000 MHz", "sudo cpupower frequency-"),
        ({"temperatures_c": {"cpu": 56.0}}, "cpu grew 6 C hotter", "let it cool"),
        ({"gpu_limits": ("power cap",)}, "held back: power cap", "sudo nvidia-smi"),
    ],
)
def test_each_change_of_the_machine_is_told(change, reason, cure):
    (found,) = doubts_of_states(states(**change), {})
    assert reason in found.reason
    assert found.cure.startswith(cure)


@pytest.mark.parametrize(
    "change",
    [{"cpu_mhz": 2920.0}, {"temperatures_c": {"cpu": 54.0}}, {"temperatures_c": {}}],
)
def test_what_is_within_the_limits_is_not(change):
    assert list(doubts_of_states(states(**change), {})) == []


def test_clocks_of_rest_before_and_after_do_not_count():
    idle = dataclasses.replace(COOL, cpu_mhz=800.0)
    assert list(doubts_of_states([idle, COOL, COOL, idle], {})) == []


def test_throttling_counts_over_the_whole_run():
    after = dataclasses.replace(COOL, throttles=4)
    (found,) = doubts_of_states([COOL, COOL, after], {})
    assert "slowed down for its heat" in found.reason


def test_a_jetson_is_told_its_own_commands():
    (cpu,) = doubts_of_states(states(cpu_mhz=1500.0), {"l4t": "36.4.3"})
    assert cpu.cure == "sudo nvpmodel -m 0 && sudo jetson_clocks"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"steady": False, "warmup_runs": 500}, "m: still getting faster after 500 warm-up runs"),
        ({"block_spread": 0.1}, "m: blocks differ by 10% (limit 5%)"),
        ({"runs": 10}, "m: p99 of 10 runs is little more than the slowest"),
    ],
)
def test_unsteady_uneven_and_few_times_are_told(change, reason):
    even = {"steady": True, "warmup_runs": 10, "block_spread": 0.0, "runs": 100}
    (found,) = doubts_of_times("m", **(even | change))
    assert found.reason == reason
    assert found.cure


def test_cpu_time_of_this_process_is_part_of_the_machines(make_tree):
    before = cpu_use()
    sum(i * i for i in range(1_500_000))
    after = cpu_use()
    assert after.own > before.own
    assert after.total > before.total
    nothing = cpu_use(make_tree({}))
    assert (nothing.total, nothing.busy, nothing.stolen) == (0, 0, 0)
