from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from detkit.machine.power import RaplCounter, find_counters, measure_joules, read_rails, total_w

RAPL = "sys/class/powercap/intel-rapl:0/energy_uj"


def test_what_the_board_draws_is_counted_once(jetson: Path, old_jetson: Path) -> None:
    assert total_w(read_rails(jetson)) == pytest.approx(12.0)  # VDD_IN; the others are parts of it
    assert total_w(read_rails(old_jetson)) == pytest.approx(4.123)
    assert total_w({"VDD_GPU_SOC": 3.0, "VDD_CPU_CV": 2.0, "VIN_SYS_5V0": 4.0}) == 9.0


def test_only_packages_are_counted_not_their_parts(desktop: Path) -> None:
    assert [counter.path.parent.name for counter in find_counters(desktop)] == ["intel-rapl:0"]


def test_a_counter_that_started_again_is_followed(desktop: Path) -> None:
    counter = RaplCounter(desktop / RAPL, range_uj=1000e6)
    assert counter.between(100e6, 350e6) == 250
    assert counter.between(900e6, 100e6) == 200


def test_energy_of_a_board_is_its_power_times_the_time(jetson: Path) -> None:
    started = time.perf_counter()
    joules = measure_joules(lambda: time.sleep(0.15), jetson)
    assert joules is not None
    assert 12 * 0.15 <= joules <= 12 * (time.perf_counter() - started)


def test_samples_are_taken_while_the_work_runs(jetson: Path) -> None:
    amperes = jetson / "sys/class/hwmon/hwmon1/curr1_input"

    def work() -> None:
        amperes.write_text("24000\n")
        time.sleep(0.3)

    joules = measure_joules(work, jetson)
    assert joules is not None
    assert joules > 120 * 0.3 * 0.7  # the first sample was 12 W


def test_energy_of_a_processor_is_what_its_counter_says(desktop: Path) -> None:
    joules = measure_joules(lambda: (desktop / RAPL).write_text("3500000\n"), desktop)
    assert joules == pytest.approx(2.5)


def test_a_card_adds_to_the_processor(desktop: Path) -> None:
    def work() -> None:
        time.sleep(0.1)
        (desktop / RAPL).write_text("3500000\n")

    joules = measure_joules(work, desktop, gpu_w=lambda: 300.0)
    assert joules is not None
    assert 2.5 + 30 <= joules < 2.5 + 120


def test_without_a_meter_there_is_no_energy(make_tree: Callable[[Mapping[str, str]], Path]) -> None:
    assert measure_joules(lambda: pytest.fail("nothing to measure"), make_tree({})) is None
