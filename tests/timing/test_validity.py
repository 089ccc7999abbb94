from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from detkit.report import MachineState
from detkit.timing.validity import (
    CpuUse,
    cpu_use,
    load_warnings,
    state_warnings,
    timing_warnings,
)

QUIET = CpuUse(total=100.0, busy=50.0, stolen=1.0, own=40.0)
COOL = MachineState(
    load_average=0.1, cpu_mhz=3000.0, temperatures_c={"cpu": 50.0}, throttles=3, power_w={}
)


def later(**changes: float) -> CpuUse:
    """Ten seconds of CPU time later, nine of them used by this process."""
    values = {"total": 110.0, "busy": 59.0, "own": 49.0} | changes
    return dataclasses.replace(QUIET, **values)


def states(**last: Any) -> list[MachineState]:
    """Before, two rounds, after; the second round differs."""
    return [COOL, COOL, dataclasses.replace(COOL, **last), COOL]


def test_a_machine_left_alone_gives_no_warning() -> None:
    assert list(load_warnings(QUIET, later())) == []
    assert list(load_warnings(QUIET, QUIET)) == []
    assert list(state_warnings(states(), {})) == []
    even: dict[str, Any] = {"steady": True, "warmup_runs": 10, "block_spread": 0.05, "runs": 100}
    assert list(timing_warnings("m", **even)) == []


@pytest.mark.parametrize(
    ("changes", "message", "remedy"),
    [
        ({"own": 45.0}, "other programs used 40% of the CPU", "nothing else running"),
        ({"stolen": 1.5}, "the host took 5% of the CPU away", "shares its cores with nobody"),
    ],
)
def test_each_disturbance_is_told(changes: dict[str, float], message: str, remedy: str) -> None:
    (found,) = load_warnings(QUIET, later(**changes))
    assert message in found.message
    assert remedy in found.remedy
    assert found.of_others


@pytest.mark.parametrize(
    ("change", "message", "remedy"),
    [
        ({"cpu_mhz": 2900.0}, "CPU's clock went from 2900 to 3000 MHz", "sudo cpupower frequency-"),
        ({"temperatures_c": {"cpu": 56.0}}, "cpu grew 6 C hotter", "let it cool"),
        ({"gpu_limits": ("power cap",)}, "throttled: power cap", "sudo nvidia-smi"),
    ],
)
def test_each_change_of_the_machine_is_told(
    change: dict[str, Any], message: str, remedy: str
) -> None:
    (found,) = state_warnings(states(**change), {})
    assert message in found.message
    assert found.remedy.startswith(remedy)


@pytest.mark.parametrize(
    "change",
    [{"cpu_mhz": 2920.0}, {"temperatures_c": {"cpu": 54.0}}, {"temperatures_c": {}}],
)
def test_what_is_within_the_limits_is_not(change: dict[str, Any]) -> None:
    assert list(state_warnings(states(**change), {})) == []


def test_clocks_of_rest_before_and_after_do_not_count() -> None:
    idle = dataclasses.replace(COOL, cpu_mhz=800.0)
    assert list(state_warnings([idle, COOL, COOL, idle], {})) == []


def test_throttling_counts_over_the_whole_run() -> None:
    after = dataclasses.replace(COOL, throttles=4)
    (found,) = state_warnings([COOL, COOL, after], {})
    assert "slowed down for its heat" in found.message


def test_a_board_is_told_of_its_power_supply_too() -> None:
    after = dataclasses.replace(COOL, throttles=4)
    (found,) = state_warnings([COOL, COOL, after], {"l4t": "36.4.3"})
    assert "the board was slowed down for its heat or its power supply" in found.message


def test_times_of_an_emulated_processor_are_never_valid() -> None:
    (found,) = state_warnings(states(), {"emulation": "aarch64 on Intel(R) Xeon(R) Processor"})
    assert "emulated (aarch64 on Intel(R) Xeon(R) Processor)" in found.message
    assert found.remedy == "run it on the device itself"
    assert not found.of_others  # so that CPU time is not valid either


def test_a_jetson_is_told_its_own_commands() -> None:
    (cpu,) = state_warnings(states(cpu_mhz=1500.0), {"l4t": "36.4.3"})
    assert cpu.remedy == "sudo nvpmodel -m 0 && sudo jetson_clocks"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steady": False, "warmup_runs": 500}, "m: still getting faster after 500 warm-up runs"),
        ({"block_spread": 0.1}, "m: blocks differ by 10% (limit 5%)"),
        ({"runs": 10}, "m: p99 of 10 runs is little more than the slowest"),
    ],
)
def test_unsteady_uneven_and_few_times_are_told(change: dict[str, float], message: str) -> None:
    even: dict[str, Any] = {"steady": True, "warmup_runs": 10, "block_spread": 0.0, "runs": 100}
    (found,) = timing_warnings("m", **(even | change))
    assert found.message == message
    assert found.remedy


def test_cpu_time_of_this_process_is_part_of_the_machines(
    make_tree: Callable[[Mapping[str, str]], Path],
) -> None:
    before = cpu_use()
    sum(i * i for i in range(1_500_000))
    after = cpu_use()
    assert after.own > before.own
    assert after.total > before.total
    nothing = cpu_use(make_tree({}))
    assert (nothing.total, nothing.busy, nothing.stolen) == (0, 0, 0)
