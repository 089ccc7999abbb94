"""Clocks, temperatures, throttling and power of this machine at one moment; nothing is changed.

Linux: `cpufreq` (kHz) or /proc/cpuinfo, `thermal` and `hwmon` (1/1000 degrees), the counters of
`thermal_throttle`, `devfreq` (Hz) of a Jetson's GPU and its over-current events (`soctherm_oc`).
NVIDIA cards: NVML.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from detkit.machine.nvml import NO_GPU, GpuState, read_gpu
from detkit.machine.power import read_rails
from detkit.machine.sysfs import ROOT, number_of, text_of
from detkit.report import MachineState

CPUS = "sys/devices/system/cpu"
# A sensor that says something else is not there.
PLAUSIBLE_C = (0.0, 150.0)


def read_state(root: Path = ROOT, gpu_index: int | None = None) -> MachineState:
    """Reads the state of the moment; with `gpu_index`, that of an NVIDIA card too."""
    gpu = read_gpu(gpu_index) if gpu_index is not None else NO_GPU
    return MachineState(
        load_average=float(text_of(root / "proc/loadavg").split(" ")[0] or 0),
        cpu_mhz=cpu_mhz(root),
        temperatures_c=temperatures_c(root) | _of_gpu(gpu),
        throttles=cpu_throttles(root) + board_throttles(root),
        gpu_mhz=gpu.mhz if gpu.mhz is not None else devfreq_gpu_mhz(root),
        gpu_limits=gpu.limits,
        power_w=read_rails(root) | ({"gpu": gpu.power_w} if gpu.power_w is not None else {}),
    )


def _of_gpu(gpu: GpuState) -> dict[str, float]:
    return {"gpu": gpu.temperature_c} if gpu.temperature_c is not None else {}


def cpu_mhz(root: Path) -> float | None:
    """Clock of the fastest core, which was the busy one; None where nothing says so."""
    files = (root / CPUS).glob("cpu[0-9]*/cpufreq/scaling_cur_freq")
    khz = [value for value in map(number_of, files) if value]
    if khz:
        return max(khz) / 1e3
    lines = text_of(root / "proc/cpuinfo").splitlines()
    mhz = [float(line.partition(":")[2]) for line in lines if line.startswith("cpu MHz")]
    return max(mhz, default=None)


def devfreq_gpu_mhz(root: Path) -> float | None:
    """Clock of a GPU that shares the board's memory, as on a Jetson."""
    files = sorted((root / "sys/class/devfreq").glob("*gpu*/cur_freq"))
    files += sorted((root / "sys/class/devfreq").glob("*gv11b*/cur_freq"))
    hertz = [value for value in map(number_of, files) if value]
    return max(hertz) / 1e6 if hertz else None


def cpu_throttles(root: Path) -> int:
    """Counts how often cores were throttled for their heat since boot."""
    files = (root / CPUS).glob("cpu[0-9]*/thermal_throttle/core_throttle_count")
    return sum(int(number_of(path) or 0) for path in files)


def board_throttles(root: Path) -> int:
    """Counts how often a Jetson was throttled for its supply since boot: too low or too much used.

    Its `soctherm_oc` counts under-voltage, mean and momentary over-current apart (Jetson Linux
    Developer Guide, Platform Power and Performance); those that only count do not slow it down.
    """
    total = 0
    for path in (root / "sys/class/hwmon").glob("hwmon*/oc[0-9]*_event_cnt"):
        switch = path.with_name(path.name.replace("_event_cnt", "_throt_en"))
        if number_of(switch) != 0:
            total += int(number_of(path) or 0)
    return total


def temperatures_c(root: Path) -> dict[str, float]:
    """Reads temperatures, by the name of the zone or of the chip and its sensor."""
    found = dict(_zones(root)) | dict(_chips(root))
    low, high = PLAUSIBLE_C
    return {name: value for name, value in found.items() if low < value < high}


def _zones(root: Path) -> Iterator[tuple[str, float]]:
    for folder in sorted((root / "sys/class/thermal").glob("thermal_zone*")):
        value = number_of(folder / "temp")  # a zone that is switched off cannot be read
        if value is not None:
            yield text_of(folder / "type") or folder.name, value / 1e3


def _chips(root: Path) -> Iterator[tuple[str, float]]:
    for path in sorted((root / "sys/class/hwmon").glob("hwmon*/temp*_input")):
        value = number_of(path)
        if value is not None:
            label = text_of(path.with_name(path.name.replace("_input", "_label")))
            chip = text_of(path.parent / "name") or path.parent.name
            yield f"{chip} {label or path.name.removesuffix('_input')}", value / 1e3
