from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from detkit.machine import nvml
from detkit.machine import state as room
from detkit.machine.nvml import NO_GPU, GpuState, read_gpu
from detkit.machine.state import read_state


def test_a_jetson_tells_clocks_heat_and_power(jetson: Path) -> None:
    state = read_state(jetson)
    assert (state.cpu_mhz, state.gpu_mhz, state.load_average) == (1984.0, 918.0, 0.52)
    assert state.temperatures_c == {"cpu-thermal": 51.281, "gpu-thermal": 49.875}
    assert state.power_w == {
        "VDD_IN": pytest.approx(12.0),
        "VDD_CPU_GPU_CV": pytest.approx(5.5),
        "VDD_SOC": pytest.approx(2.496),
    }


def test_a_jetson_counts_what_slowed_it_down_for_its_supply(jetson: Path) -> None:
    assert read_state(jetson).throttles == 1 + 37


def test_an_old_jetson_tells_them_by_other_files(old_jetson: Path) -> None:
    state = read_state(old_jetson)
    assert (state.cpu_mhz, state.gpu_mhz) == (None, 921.6)
    assert state.power_w == {"POM_5V_IN": 4.123, "POM_5V_GPU": 1.21}


def test_a_desktop_tells_the_clock_of_its_busy_core_and_counts_throttling(desktop: Path) -> None:
    state = read_state(desktop)
    assert (state.cpu_mhz, state.throttles, state.gpu_mhz) == (4699.0, 7, None)
    assert state.temperatures_c == {"coretemp Package id 0": 62.0, "nvme temp1": 40.85}


def test_without_cpufreq_the_clock_is_that_of_cpuinfo(
    make_tree: Callable[[Mapping[str, str]], Path],
) -> None:
    text = "processor\t: 0\ncpu MHz\t\t: 2596.144\n\nprocessor\t: 1\ncpu MHz\t\t: 2601.000"
    assert read_state(make_tree({"proc/cpuinfo": text})).cpu_mhz == 2601.0


def test_a_machine_that_shows_nothing_has_a_state_of_nothing(
    make_tree: Callable[[Mapping[str, str]], Path],
) -> None:
    state = read_state(make_tree({}))
    assert (state.cpu_mhz, state.temperatures_c, state.throttles) == (None, {}, 0)
    assert (state.power_w, state.gpu_limits) == ({}, ())


# --- NVML ----------------------------------------------------------------------------------------


class FakeNvml:
    """A card as nvml.h describes the calls; `absent` functions answer NVML_ERROR_NOT_SUPPORTED."""

    def __init__(self, bits: int = 0, absent: tuple[str, ...] = ()) -> None:
        self.bits, self.absent = bits, absent

    def _give(self, name: str, pointer: Any, kind: Any, value: int) -> int:
        if name in self.absent:
            return 3
        ctypes.cast(pointer, ctypes.POINTER(kind)).contents.value = value
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, index: int, handle: Any) -> int:  # noqa: N802
        return 0 if index == 0 else 2

    def nvmlDeviceGetClockInfo(self, handle: Any, kind: int, clock: Any) -> int:  # noqa: N802
        assert kind == 1
        return self._give("clock", clock, ctypes.c_uint, 1980)

    def nvmlDeviceGetTemperature(self, handle: Any, sensor: int, heat: Any) -> int:  # noqa: N802
        assert sensor == 0
        return self._give("heat", heat, ctypes.c_uint, 61)

    def nvmlDeviceGetPowerUsage(self, handle: Any, power: Any) -> int:  # noqa: N802
        return self._give("power", power, ctypes.c_uint, 312500)

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: Any, bits: Any) -> int:  # noqa: N802
        return self._give("bits", bits, ctypes.c_ulonglong, self.bits)


def test_a_card_tells_clock_heat_power_and_what_limits_it() -> None:
    idle, power_cap, thermal = 0x1, 0x4, 0x40
    found = read_gpu(0, FakeNvml(idle | power_cap | thermal))
    assert (found.mhz, found.temperature_c, found.power_w) == (1980, 61, 312.5)
    assert found.limits == ("power cap", "hardware thermal slowdown")


def test_what_a_card_does_not_support_is_left_out() -> None:
    found = read_gpu(0, FakeNvml(0x4, absent=("power", "bits")))
    assert (found.mhz, found.power_w, found.limits) == (1980, None, ())


def test_a_card_that_is_not_there_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_gpu(1, FakeNvml()) == NO_GPU
    monkeypatch.setattr(nvml, "LIBRARY", "libno_such_nvml.so.1")
    nvml._open_library.cache_clear()
    assert read_gpu(0) == NO_GPU
    nvml._open_library.cache_clear()


def test_the_state_of_the_card_is_part_of_the_machines(
    desktop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = GpuState(mhz=1980.0, temperature_c=61.0, power_w=312.5, limits=("power cap",))
    monkeypatch.setattr(room, "read_gpu", lambda index: gpu)
    state = read_state(desktop, gpu_index=0)
    assert (state.gpu_mhz, state.gpu_limits) == (1980.0, ("power cap",))
    assert (state.temperatures_c["gpu"], state.power_w) == (61.0, {"gpu": 312.5})
