"""Which processor this is, and whether it is a real one: what /proc/cpuinfo says, read on any CPU.

x86 names itself in `model name`. A 64-bit ARM kernel gives the implementer and part number of each
core (MIDR_EL1), and a board may have cores of several kinds.
"""

from __future__ import annotations

import platform
from collections import Counter
from pathlib import Path

from detkit.machine.sysfs import ROOT, fields_of, text_of

ARM_LTD, SOFTWARE = 0x41, 0x00
IMPLEMENTERS = {
    ARM_LTD: "ARM",
    0x46: "Fujitsu",
    0x48: "HiSilicon",
    0x4E: "NVIDIA",
    0x51: "Qualcomm",
    0x61: "Apple",
    0xC0: "Ampere",
}
# Main ID Register, parts of the cores of boards and servers (Arm's technical reference manuals).
PARTS = {
    (ARM_LTD, 0xD03): "Cortex-A53",
    (ARM_LTD, 0xD04): "Cortex-A35",
    (ARM_LTD, 0xD05): "Cortex-A55",
    (ARM_LTD, 0xD07): "Cortex-A57",
    (ARM_LTD, 0xD08): "Cortex-A72",
    (ARM_LTD, 0xD09): "Cortex-A73",
    (ARM_LTD, 0xD0A): "Cortex-A75",
    (ARM_LTD, 0xD0B): "Cortex-A76",
    (ARM_LTD, 0xD0C): "Neoverse-N1",
    (ARM_LTD, 0xD0D): "Cortex-A77",
    (ARM_LTD, 0xD40): "Neoverse-V1",
    (ARM_LTD, 0xD41): "Cortex-A78",
    (ARM_LTD, 0xD42): "Cortex-A78AE",
    (ARM_LTD, 0xD44): "Cortex-X1",
    (ARM_LTD, 0xD46): "Cortex-A510",
    (ARM_LTD, 0xD47): "Cortex-A710",
    (ARM_LTD, 0xD48): "Cortex-X2",
    (ARM_LTD, 0xD49): "Neoverse-N2",
    (ARM_LTD, 0xD4B): "Cortex-A78C",
    (ARM_LTD, 0xD4D): "Cortex-A715",
    (ARM_LTD, 0xD4F): "Neoverse-V2",
    (ARM_LTD, 0xD80): "Cortex-A520",
    (ARM_LTD, 0xD81): "Cortex-A720",
    (ARM_LTD, 0xD83): "Neoverse-V3AE",
    (0x4E, 0x003): "Denver 2",
    (0x4E, 0x004): "Carmel",
}
ROSETTA = "VirtualApple"  # the CPU that Apple's Rosetta 2 shows to x86 programs


def cpu_model(root: Path = ROOT, machine: str = "") -> str:
    """Names the processor, such as `Intel(R) Xeon(R) ...` or `4 Cortex-A55, 4 Cortex-A76`.

    Args:
        machine: what stands for a processor that says nothing; by default what `uname -m` says.
    """
    named = fields_of(root / "proc/cpuinfo").get("model name", "")
    cores = Counter(_core_name(*core) for core in arm_cores(root))
    listed = ", ".join(f"{count} {name}" for name, count in sorted(cores.items()))
    return named or listed or machine or platform.machine()


def emulation(root: Path = ROOT, machine: str = "") -> str:
    """Says why the instructions of this process are emulated; empty where nothing shows that.

    Emulated are: a program whose machine is not the processor's (QEMU's user mode before version
    8.2, containers of another architecture), an ARM processor of no maker (QEMU's own), and x86
    on an Apple processor. A QEMU that plays a real processor's part is not noticed.

    Args:
        machine: what the process runs as, by default what `uname -m` says.
    """
    machine = machine or platform.machine()
    fields, cores = fields_of(root / "proc/cpuinfo"), arm_cores(root)
    is_arm, is_x86 = machine in ("aarch64", "arm64"), machine in ("x86_64", "i686")
    if is_arm and not cores and "vendor_id" in fields:
        return f"{machine} on {fields.get('model name') or fields['vendor_id']}"
    if is_x86 and cores:
        return f"{machine} on {cpu_model(root)}"
    if is_arm and any(implementer == SOFTWARE for implementer, _ in cores):
        return f"{machine} on a processor made of software"
    if is_x86 and fields.get("model name", "").startswith(ROSETTA):
        return f"{machine} on {fields['model name']}"
    return ""


def arm_cores(root: Path) -> list[tuple[int, int]]:
    """(implementer, part) of each core that is switched on; empty where it is not ARM's."""
    found, implementer = [], 0
    for line in text_of(root / "proc/cpuinfo").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "CPU implementer":
            implementer = _hexadecimal(value)
        elif name.strip() == "CPU part":
            found.append((implementer, _hexadecimal(value)))
    return found


def _core_name(implementer: int, part: int) -> str:
    maker = IMPLEMENTERS.get(implementer, f"implementer {implementer:#04x}")
    return PARTS.get((implementer, part), f"{maker} part {part:#05x}")


def _hexadecimal(text: str) -> int:
    try:
        return int(text, 16)
    except ValueError:
        return SOFTWARE
