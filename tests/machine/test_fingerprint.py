from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from detkit.engines import engine_packages
from detkit.machine import fingerprint as room
from detkit.machine.fingerprint import fingerprint, l4t_release, power_mode, usable_cpus

NVPMODEL = """NV Fan Mode:quiet
NV Power Mode: MAXN
0
"""


def test_the_id_does_not_depend_on_the_load_of_the_moment(
    make_tree: Callable[[Mapping[str, str]], Path],
) -> None:
    first = fingerprint(engine_packages(), make_tree({"proc/loadavg": "0.10 0.20 0.30 1/99 7"}))
    second = fingerprint(engine_packages(), make_tree({"proc/loadavg": "9 9 9 1/99 8"}))
    assert (first["load_average"], second["load_average"]) == ("0.10 0.20 0.30", "9 9 9")
    assert first["id"] == second["id"]


@pytest.mark.parametrize(
    "change",
    [
        {"proc/cpuinfo": "model name : Another CPU"},
        {"sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave"},
    ],
)
def test_the_id_depends_on_cpu_and_governor(
    make_tree: Callable[[Mapping[str, str]], Path], change: dict[str, str]
) -> None:
    assert (
        fingerprint(engine_packages(), make_tree({}))["id"]
        != fingerprint(engine_packages(), make_tree(change))["id"]
    )


def test_the_id_depends_on_the_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint(engine_packages())["id"]
    monkeypatch.setattr(room, "versions", lambda *names: {"onnxruntime": "0.1"})
    assert fingerprint(engine_packages())["id"] != before


def test_a_machine_that_shows_nothing_still_has_a_fingerprint(
    make_tree: Callable[[Mapping[str, str]], Path],
) -> None:
    found = fingerprint(engine_packages(), make_tree({}))
    assert found["cpu"]
    assert found["id"]


def test_a_jetson_says_its_board_release_and_power_mode(
    jetson: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "_ask_nvpmodel", lambda: NVPMODEL)
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    found = fingerprint(engine_packages(), jetson)
    assert found["cpu"] == "4 Cortex-A78AE"
    assert "emulation" not in found
    assert found["board"] == "NVIDIA Jetson Orin NX Engineering Reference Developer Kit"
    assert (found["l4t"], found["power_mode"]) == ("36.4.3", "MAXN")


@pytest.mark.parametrize(
    ("text", "mode"), [(NVPMODEL, "MAXN"), ("NV Power Mode: 15W\n2\n", "15W"), ("", "")]
)
def test_the_power_mode_is_read_from_what_nvpmodel_prints(text: str, mode: str) -> None:
    assert power_mode(text) == mode


def test_nvpmodel_is_asked_where_it_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nvpmodel"
    program.write_text('#!/bin/sh\n[ "$*" = -q ] && printf "NV Power Mode: 25W\\n1\\n"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert fingerprint(engine_packages(), Path("/"))["power_mode"] == "25W"


def test_no_release_is_read_from_another_line() -> None:
    assert l4t_release("# R35 (release), REVISION: 4.1, GCID: 33958178, BOARD: t186ref") == "35.4.1"
    assert l4t_release("Ubuntu 22.04") == ""


def test_usable_cpus_are_those_of_this_process() -> None:
    assert usable_cpus() >= 1
