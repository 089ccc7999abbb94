"""Energy of an image, where the machine measures its power.

Jetson boards carry INA3221 monitors, one voltage and one current a rail, under `hwmon` (JetPack 5
and later; mV, mA) or as `iio` of the i2c driver (before; mW). Intel and AMD processors count the
energy of each package (RAPL, `powercap`; microjoules), mostly for root alone.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from detkit.machine.sysfs import ROOT, number_of, text_of

# What the board draws; where it is known, others are parts of it.
TOTAL_RAILS = ("VDD_IN", "POM_5V_IN")
SAMPLES_PER_SECOND = 50
JETSON_IIO = "sys/bus/i2c/drivers/ina3221x/*/iio:device*/in_power*_input"
Rails = dict[str, float]  # name -> W


def read_rails(root: Path = ROOT) -> Rails:
    """Reads the watts of each rail that an INA3221 watches; empty where there is none."""
    return dict(_hwmon_rails(root)) | dict(_iio_rails(root))


def _hwmon_rails(root: Path) -> Iterator[tuple[str, float]]:
    for name in sorted((root / "sys/class/hwmon").glob("hwmon*/name")):
        if text_of(name) != "ina3221":
            continue
        for label in sorted(name.parent.glob("in*_label")):
            channel = label.name.removeprefix("in").removesuffix("_label")
            millivolts = number_of(name.parent / f"in{channel}_input")
            milliamperes = number_of(name.parent / f"curr{channel}_input")
            if millivolts is not None and milliamperes is not None:
                yield text_of(label), millivolts * milliamperes / 1e6


def _iio_rails(root: Path) -> Iterator[tuple[str, float]]:
    for path in sorted(root.glob(JETSON_IIO)):
        channel = path.name.removeprefix("in_power").removesuffix("_input")
        milliwatts = number_of(path)
        if milliwatts is not None:
            yield text_of(path.with_name(f"rail_name_{channel}")), milliwatts / 1e3


def total_w(rails: Rails) -> float:
    """Adds up the watts of all rails, none of them twice."""
    whole = [watts for name, watts in rails.items() if name in TOTAL_RAILS]
    return sum(whole) if whole else sum(rails.values())


@dataclass(frozen=True)
class RaplCounter:
    """An energy counter (RAPL), which starts again from 0 at `range_uj`."""

    path: Path
    range_uj: float

    def read(self) -> float | None:
        return number_of(self.path)

    def between(self, before: float, after: float) -> float:
        """Joules used between two readings, if the counter has gone round once at most."""
        used = after - before
        return (used if used >= 0 else used + self.range_uj) / 1e6


def find_counters(root: Path = ROOT) -> list[RaplCounter]:
    """Finds the counter of each processor package that this user may read."""
    found = []
    for folder in sorted((root / "sys/class/powercap").glob("intel-rapl:*")):
        is_package = text_of(folder / "name").startswith("package")
        counter = RaplCounter(
            folder / "energy_uj", number_of(folder / "max_energy_range_uj") or 0.0
        )
        if is_package and counter.read() is not None:
            found.append(counter)
    return found


def measure_joules(
    work: Callable[[], object],
    root: Path = ROOT,
    *,
    gpu_w: Callable[[], float | None] = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
) -> float | None:
    """Measures the joules used while `work` runs; None where nothing measures them.

    A board's rails hold all of it. Else it is that of the processors that count, and of the GPU.
    """
    if read_rails(root):
        return _integrated(lambda: total_w(read_rails(root)), work, clock)
    counters = find_counters(root)
    if gpu_w() is not None:
        counted: list[float] = []
        drawn = _integrated(
            lambda: gpu_w() or 0.0, lambda: counted.append(_counted(counters, work)), clock
        )
        return drawn + sum(counted)
    return _counted(counters, work) if counters else None


def _counted(counters: list[RaplCounter], work: Callable[[], object]) -> float:
    before = [counter.read() or 0.0 for counter in counters]
    work()
    pairs = zip(counters, before, strict=True)
    return sum(counter.between(first, counter.read() or 0.0) for counter, first in pairs)


def _integrated(
    watts: Callable[[], float], work: Callable[[], object], clock: Callable[[], float]
) -> float:
    """Integrates power: the mean of samples that a thread takes meanwhile, times the duration."""
    samples, done = [watts()], threading.Event()

    def sample() -> None:
        while not done.wait(1 / SAMPLES_PER_SECOND):
            samples.append(watts())

    sampler = threading.Thread(target=sample, daemon=True)
    start = clock()
    sampler.start()
    try:
        work()
    finally:
        seconds = clock() - start
        done.set()
        sampler.join()
    return sum(samples) / len(samples) * seconds
