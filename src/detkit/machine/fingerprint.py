"""The machine a latency belongs to: what stays the same between two runs on it.

Read from files the kernel shows and, on a Jetson, from `nvpmodel -q`, which only tells the power
mode. Nothing is changed. Figures of machines whose `id` differs cannot be compared.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from detkit.artifact.artifact import versions
from detkit.core.serialization import digest_of
from detkit.machine.processor import cpu_model, emulation
from detkit.machine.sysfs import ROOT, fields_of, text_of

PATIENCE_SECONDS = 5


def fingerprint(packages: Sequence[str], root: Path = ROOT) -> dict[str, str]:
    """Describes what latency depends on; `id` is a digest of all but the load of the moment.

    Args:
        packages: distributions whose versions count beside numpy's: those of the engines.
    """
    memory = fields_of(root / "proc/meminfo").get("MemTotal", "0 kB").split()[0]
    machine = {
        "cpu": cpu_model(root),
        "emulation": emulation(root),
        "cpus": str(os.cpu_count()),
        "usable_cpus": str(usable_cpus()),
        "governor": text_of(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "memory_gib": f"{int(memory) / 2**20:.0f}",
        "gpu": ", ".join(_gpus(root)),
        "board": text_of(root / "proc/device-tree/model"),
        "l4t": l4t_release(text_of(root / "etc/nv_tegra_release")),
        "power_mode": power_mode(_ask_nvpmodel()),
        "kernel": platform.release(),
    }
    known = {key: value for key, value in machine.items() if value} | versions("numpy", *packages)
    load = " ".join(text_of(root / "proc/loadavg").split()[:3])
    return known | {"id": digest_of(known), "load_average": load}


def usable_cpus() -> int:
    """CPUs that this process may run on: as many threads an engine runs by default."""
    return len(os.sched_getaffinity(0))


def _gpus(root: Path) -> list[str]:
    folder = root / "proc/driver/nvidia/gpus"
    return [fields_of(path).get("Model", "") for path in sorted(folder.glob("*/information"))]


def l4t_release(text: str) -> str:
    """Reads `36.4.3` from the line that begins `# R36 (release), REVISION: 4.3, ...`."""
    found = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", text)
    return f"{found[1]}.{found[2]}" if found else ""


def power_mode(text: str) -> str:
    """Reads the mode, such as `MAXN`, from what `nvpmodel -q` prints."""
    found = re.search(r"NV Power Mode: *(\S+)", text)
    return found[1] if found else ""


def _ask_nvpmodel() -> str:
    """Runs `nvpmodel -q`; gives nothing where it is not installed or does not answer."""
    program = shutil.which("nvpmodel")
    if program is None:
        return ""
    command = [program, "-q"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout
