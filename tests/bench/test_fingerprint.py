from __future__ import annotations

import dataclasses

import pytest

from detkit.bench import fingerprint as room
from detkit.bench.fingerprint import CpuUse, cpu_use, disturbances, fingerprint, usable_cpus

QUIET = CpuUse(total=100.0, busy=50.0, stolen=1.0, own=40.0, throttled=3)


def later(**changes: float) -> CpuUse:
    """Ten seconds of CPU time later, nine of them used by this process."""
    values = {"total": 110.0, "busy": 59.0, "own": 49.0} | changes
    return dataclasses.replace(QUIET, **values)


def test_a_machine_left_alone_gives_no_reason_to_doubt():
    assert disturbances(QUIET, later()) == []
    assert disturbances(QUIET, QUIET) == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"own": 45.0}, "other programs used 40% of the CPU"),
        ({"stolen": 1.5}, "the host took 5% of the CPU away"),
        ({"throttled": 4}, "slowed down for its heat"),
    ],
)
def test_each_disturbance_is_told(changes, reason):
    (found,) = disturbances(QUIET, later(**changes))
    assert reason in found


def test_the_id_does_not_depend_on_the_load_of_the_moment(monkeypatch):
    first = fingerprint()
    text = room._text
    monkeypatch.setattr(room, "_text", lambda p: "9 9 9" if p == "/proc/loadavg" else text(p))
    second = fingerprint()
    assert second["load_average"] == "9 9 9"
    assert first["id"] == second["id"]


def test_the_id_depends_on_the_cpu_and_the_engines(monkeypatch):
    before = fingerprint()["id"]
    monkeypatch.setattr(room, "versions", lambda *names: {"onnxruntime": "0.1"})
    assert fingerprint()["id"] != before


def test_a_machine_that_shows_nothing_still_has_a_fingerprint(monkeypatch):
    monkeypatch.setattr(room, "_text", lambda path: "")
    found = fingerprint()
    assert found["cpu"]
    assert found["id"]
    assert disturbances(cpu_use(), cpu_use()) == []


def test_cpu_time_of_this_process_is_part_of_the_machines():
    before = cpu_use()
    sum(i * i for i in range(1_500_000))
    after = cpu_use()
    assert after.own > before.own
    assert after.total > before.total
    assert usable_cpus() >= 1
