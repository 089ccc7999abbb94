"""The machine a latency belongs to, and whether it was left alone while it was measured.

Everything is read from files the kernel shows; nothing is changed and no program is started.
Figures of machines whose `id` differs cannot be compared.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from detkit.artifact import versions
from detkit.codec import digest_of

ENGINES = ("numpy", "onnxruntime", "onnxruntime-gpu", "openvino", "torch")
MAX_OTHERS = 0.10  # share of the CPU that other programs may use
MAX_STOLEN = 0.02  # share that the host of a virtual machine may take away
BUSY_FIELDS = (0, 1, 2, 5, 6)  # user, nice, system, irq, softirq of /proc/stat
STOLEN_FIELD = 7


def fingerprint() -> dict[str, str]:
    """What latency depends on; `id` is a digest of all but the load of the moment."""
    cpu = _fields(Path("/proc/cpuinfo"))
    memory = _fields(Path("/proc/meminfo")).get("MemTotal", "0 kB").split()[0]
    machine = {
        "cpu": cpu.get("model name", cpu.get("Model", platform.machine())),
        "cpus": str(os.cpu_count()),
        "usable_cpus": str(usable_cpus()),
        "governor": _text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "memory_gib": f"{int(memory) / 2**20:.0f}",
        "gpu": ", ".join(_gpus()),
        "board": _text("/proc/device-tree/model"),
        "l4t": _text("/etc/nv_tegra_release").partition("\n")[0],
        "kernel": platform.release(),
    }
    known = {key: value for key, value in machine.items() if value} | versions(*ENGINES)
    load = " ".join(_text("/proc/loadavg").split()[:3])
    return known | {"id": digest_of(known), "load_average": load}


def usable_cpus() -> int:
    """CPUs this process may run on; on which an engine told nothing runs that many threads."""
    return len(os.sched_getaffinity(0))


def _gpus() -> list[str]:
    folder = Path("/proc/driver/nvidia/gpus")
    return [_fields(path).get("Model", "") for path in sorted(folder.glob("*/information"))]


def _fields(path: Path) -> Mapping[str, str]:
    """The first value of each `name : value` line."""
    fields: dict[str, str] = {}
    for line in _text(str(path)).splitlines():
        name, _, value = line.partition(":")
        fields.setdefault(name.strip(), value.strip())
    return fields


def _text(path: str) -> str:
    """The file's text, or nothing where this machine does not show it."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace").strip("\0\n ")
    except OSError:
        return ""


# --- was the machine left alone ------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class CpuUse:
    """CPU time since boot, in seconds: of the whole machine, and of this process."""

    total: float
    busy: float
    stolen: float
    own: float
    throttled: int  # times a core was slowed down for its heat


def cpu_use() -> CpuUse:
    ticks = os.sysconf("SC_CLK_TCK")
    first_line = _text("/proc/stat").partition("\n")[0].split()[1:9]
    fields = [int(field) / ticks for field in first_line] or [0.0] * 8
    times = os.times()
    return CpuUse(
        total=sum(fields),
        busy=sum(fields[i] for i in BUSY_FIELDS),
        stolen=fields[STOLEN_FIELD],
        own=times.user + times.system,
        throttled=sum(
            int(_text(str(path)) or 0)
            for path in Path("/sys/devices/system/cpu").glob(
                "cpu*/thermal_throttle/core_throttle_count"
            )
        ),
    )


def disturbances(before: CpuUse, after: CpuUse) -> list[str]:
    """Why times taken between the two moments cannot be trusted; empty where they can."""
    reasons = []
    elapsed = max(after.total - before.total, 1e-9)
    others = (after.busy - before.busy - (after.own - before.own)) / elapsed
    stolen = (after.stolen - before.stolen) / elapsed
    if others > MAX_OTHERS:
        reasons.append(f"other programs used {others:.0%} of the CPU (limit {MAX_OTHERS:.0%})")
    if stolen > MAX_STOLEN:
        reasons.append(f"the host took {stolen:.0%} of the CPU away (limit {MAX_STOLEN:.0%})")
    if after.throttled > before.throttled:
        reasons.append("the CPU was slowed down for its heat")
    return reasons
