from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from detkit.machine.processor import arm_cores, cpu_model, emulation
from fixtures.machines import arm_cpuinfo

XEON = "processor\t: 0\nvendor_id\t: GenuineIntel\nmodel name\t: Intel(R) Xeon(R) Processor"
ROSETTA = "processor\t: 0\nvendor_id\t: VirtualApple\nmodel name\t: VirtualApple @ 2.50GHz"
A55, A76, NO_MAKER = (0x41, 0xD05), (0x41, 0xD0B), (0x00, 0x051)
# A Raspberry Pi's kernel adds lines about the board.
PI_BOARD = "Revision\t: c04170\nModel\t\t: Raspberry Pi 5 Model B Rev 1.0"
RASPBERRY = f"{arm_cpuinfo(A76, A76)}\n\n{PI_BOARD}"
MakeTree = Callable[[Mapping[str, str]], Path]


@pytest.mark.parametrize(
    ("cpuinfo", "name"),
    [
        (XEON, "Intel(R) Xeon(R) Processor"),
        (RASPBERRY, "2 Cortex-A76"),
        (arm_cpuinfo(A55, A55, A55, A55, A76, A76, A76, A76), "4 Cortex-A55, 4 Cortex-A76"),
        (arm_cpuinfo((0x41, 0xD42)), "1 Cortex-A78AE"),
        (arm_cpuinfo((0x41, 0xFFF)), "1 ARM part 0xfff"),
        (arm_cpuinfo((0x70, 0x303)), "1 implementer 0x70 part 0x303"),
        ("processor\t: 0\nisa\t\t: rv64imafdc", "riscv64"),
        ("", "riscv64"),
    ],
)
def test_the_processor_is_named(make_tree: MakeTree, cpuinfo: str, name: str) -> None:
    assert cpu_model(make_tree({"proc/cpuinfo": cpuinfo}), "riscv64") == name


def test_a_damaged_line_is_no_error(make_tree: MakeTree) -> None:
    root = make_tree({"proc/cpuinfo": "CPU implementer : what\nCPU part : 0xd0b"})
    assert arm_cores(root) == [(0, 0xD0B)]


@pytest.mark.parametrize(
    ("machine", "cpuinfo", "reason"),
    [
        ("aarch64", XEON, "aarch64 on Intel(R) Xeon(R) Processor"),
        ("aarch64", arm_cpuinfo(NO_MAKER), "aarch64 on a processor made of software"),
        ("x86_64", arm_cpuinfo(A76), "x86_64 on 1 Cortex-A76"),
        ("x86_64", ROSETTA, "x86_64 on VirtualApple @ 2.50GHz"),
    ],
)
def test_an_emulated_processor_is_told(
    make_tree: MakeTree, machine: str, cpuinfo: str, reason: str
) -> None:
    assert emulation(make_tree({"proc/cpuinfo": cpuinfo}), machine) == reason


@pytest.mark.parametrize(
    ("machine", "cpuinfo"),
    [
        ("x86_64", XEON),
        ("aarch64", RASPBERRY),
        ("aarch64", arm_cpuinfo(A55, A76)),
        ("aarch64", ""),  # a machine that shows nothing is not said to be emulated
        ("x86_64", ""),
    ],
)
def test_a_real_processor_is_not(make_tree: MakeTree, machine: str, cpuinfo: str) -> None:
    assert emulation(make_tree({"proc/cpuinfo": cpuinfo}), machine) == ""
