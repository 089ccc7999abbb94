"""Whether times can be trusted: each warning with its figure, its limit and what the user can do.

Nothing here measures; it judges what `measure`, `state` and `cpu_use` found.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from detkit.machine.sysfs import ROOT, text_of
from detkit.report import MachineState

MAX_OTHERS = 0.10  # share of the CPU that other programs may use
MAX_STOLEN = 0.02  # share that the host of a virtual machine may take away
MAX_CLOCK_DRIFT = 0.03
MAX_RISE_C = 5.0
MAX_BLOCK_SPREAD = 0.05
MIN_RUNS_FOR_P99 = 100
BUSY_FIELDS = (0, 1, 2, 5, 6)  # user, nice, system, irq, softirq of /proc/stat
STOLEN_FIELD = 7

ALONE = "run it again with nothing else running"
LONGER = "run it again with --seconds 10"
JETSON_CLOCKS = "sudo nvpmodel -m 0 && sudo jetson_clocks"
CPU_CLOCKS = "sudo cpupower frequency-set -g performance"
GPU_CLOCKS = "sudo nvidia-smi -pm 1 && sudo nvidia-smi --lock-gpu-clocks=tdp,tdp"


@dataclass(frozen=True)
class TimingWarning:
    """A message and its remedy; `of_others`: other programs lengthened wall time, not CPU time."""

    message: str
    remedy: str
    of_others: bool = False


@dataclass(frozen=True, kw_only=True)
class CpuUse:
    """CPU time since boot, in seconds: of the whole machine, and of this process."""

    total: float
    busy: float
    stolen: float
    own: float


def cpu_use(root: Path = ROOT) -> CpuUse:
    ticks = os.sysconf("SC_CLK_TCK")
    first_line = text_of(root / "proc/stat").partition("\n")[0].split()[1:9]
    fields = [int(field) / ticks for field in first_line] or [0.0] * 8
    times = os.times()
    return CpuUse(
        total=sum(fields),
        busy=sum(fields[i] for i in BUSY_FIELDS),
        stolen=fields[STOLEN_FIELD],
        own=times.user + times.system,
    )


def load_warnings(before: CpuUse, after: CpuUse) -> Iterator[TimingWarning]:
    """Yields warnings of what else ran between the two moments."""
    elapsed = max(after.total - before.total, 1e-9)
    others = (after.busy - before.busy - (after.own - before.own)) / elapsed
    stolen = (after.stolen - before.stolen) / elapsed
    if others > MAX_OTHERS:
        limit = f"limit {MAX_OTHERS:.0%}"
        yield TimingWarning(
            f"other programs used {others:.0%} of the CPU ({limit})", ALONE, of_others=True
        )
    if stolen > MAX_STOLEN:
        yield TimingWarning(
            f"the host took {stolen:.0%} of the CPU away (limit {MAX_STOLEN:.0%})",
            "run it on a machine that shares its cores with nobody",
            of_others=True,
        )


def state_warnings(
    states: Sequence[MachineState], machine: Mapping[str, str]
) -> Iterator[TimingWarning]:
    """Yields warnings of the processor, clocks and heat.


    Args:
        states: before, between the blocks, and after.
        machine: a fingerprint, by which remedies for this machine are chosen.
    """
    if "emulation" in machine:
        message = f"the processor is emulated ({machine['emulation']}): no time here is one of it"
        yield TimingWarning(message, "run it on the device itself")
    cpu_remedy = JETSON_CLOCKS if "l4t" in machine else CPU_CLOCKS
    gpu_remedy = JETSON_CLOCKS if "l4t" in machine else GPU_CLOCKS
    busy = states[1:-1]  # before and after, clocks are those of rest
    yield from _drift([s.cpu_mhz for s in busy], "the CPU's", cpu_remedy)
    yield from _drift([s.gpu_mhz for s in busy], "the GPU's", gpu_remedy)
    cool = "let it cool, better its cooling, or lower its clocks until they can be held"
    for name, rise in _rises(busy):
        if rise > MAX_RISE_C:
            yield TimingWarning(f"{name} grew {rise:.0f} C hotter (limit {MAX_RISE_C:.0f})", cool)
    if states[-1].throttles > states[0].throttles:
        if "l4t" in machine:
            reason = "the board was slowed down for its heat or its power supply"
            yield TimingWarning(reason, f"{cool}; or a power mode that the supply can feed")
        else:
            yield TimingWarning("the CPU was slowed down for its heat", cool)
    limits = sorted({limit for state in busy for limit in state.gpu_limits})
    if limits:
        yield TimingWarning(f"the GPU was throttled: {', '.join(limits)}", gpu_remedy)


def _drift(mhz: Sequence[float | None], whose: str, remedy: str) -> Iterator[TimingWarning]:
    known = [value for value in mhz if value]
    drift = (max(known) - min(known)) / max(known) if known else 0.0
    if drift > MAX_CLOCK_DRIFT:
        clocks = f"{min(known):.0f} to {max(known):.0f} MHz"
        yield TimingWarning(
            f"{whose} clock went from {clocks} (limit {MAX_CLOCK_DRIFT:.0%})", remedy
        )


def _rises(states: Sequence[MachineState]) -> Iterator[tuple[str, float]]:
    """Degrees by which each sensor is warmer at the end than at the start."""
    if states:
        first, last = states[0].temperatures_c, states[-1].temperatures_c
        yield from ((name, last[name] - first[name]) for name in first if name in last)


def timing_warnings(
    name: str, *, steady: bool, warmup_runs: int, block_spread: float, runs: int
) -> Iterator[TimingWarning]:
    """Yields warnings of what the times of one model say against trusting them."""
    if not steady:
        message = f"{name}: still getting faster after {warmup_runs} warm-up runs"
        yield TimingWarning(message, LONGER)
    if block_spread > MAX_BLOCK_SPREAD:
        limit = f"limit {MAX_BLOCK_SPREAD:.0%}"
        message = f"{name}: blocks differ by {block_spread:.0%} ({limit})"
        yield TimingWarning(message, ALONE, of_others=True)
    if runs < MIN_RUNS_FOR_P99:
        message = f"{name}: p99 of {runs} runs is little more than the slowest"
        yield TimingWarning(message, f"--runs {MIN_RUNS_FOR_P99}, or more")
