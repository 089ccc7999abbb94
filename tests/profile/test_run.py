"""The campaign, with engines that need no time: what is written when, and what resumes."""

from __future__ import annotations

import dataclasses
import importlib.metadata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detkit.core.errors import UsageError
from detkit.core.serialization import from_json, to_json
from detkit.nn.detector import cost_of
from detkit.profile import run as room
from detkit.profile.run import MEASUREMENTS, engine_version, measure_profile, measurement_warnings
from detkit.report import HardwareProfile, Measurement
from detkit.runtime.session import SessionOptions
from detkit.spec.space import SPACES
from detkit.untrained import EngineSetup

TINY = SPACES["tiny"].for_task(3, (64, 64))
SETUP = EngineSetup(
    engine="onnxruntime", precision="fp32", session_options=SessionOptions(threads=1)
)


class KilledError(Exception):
    """Stands for a kill -9: nothing of ours catches it."""


class FakeMachine:
    """Opens a network as its MACs, a millisecond for each million; may die after a while."""

    def __init__(self, visits_to_live: int = 10**9) -> None:
        self.seen: list[int] = []
        self.visits_to_live = visits_to_live

    def measurement(self, macs: int, *, session_options: SessionOptions) -> Measurement:
        if len(self.seen) == self.visits_to_live:
            raise KilledError
        self.seen.append(macs)
        least = macs / 1e6 * (1 + 0.01 * (len(self.seen) % 3))
        return Measurement(least_ms=least, p50_ms=least, iqr_ms=0.0, wall_over_cpu=1.0)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeMachine]:
    def install(visits_to_live: int = 10**9) -> FakeMachine:
        fake = FakeMachine(visits_to_live)
        monkeypatch.setattr(EngineSetup, "open", lambda self, spec: cost_of(spec).macs)
        monkeypatch.setattr(room, "measure_session", fake.measurement)
        return fake

    return install


def measure(out: Path, *, resume: bool = False, **changes: Any) -> HardwareProfile:
    setup = dataclasses.replace(SETUP, **{k: v for k, v in changes.items() if k in vars(SETUP)})
    return measure_profile(
        changes.get("space", TINY),
        setup,
        out,
        samples=changes.get("samples", 14),
        seed=changes.get("seed", 0),
        resume=resume,
        log=lambda _: None,
    )


def read(out: Path) -> HardwareProfile:
    return from_json(HardwareProfile, out.read_text())


def test_every_network_is_visited_in_turns_beside_the_reference(
    tmp_path: Path, machine: Callable[..., FakeMachine]
) -> None:
    fake = machine()
    profile = measure(tmp_path / "p.json")
    assert read(tmp_path / "p.json") == profile
    assert all(len(sample.measurements) == MEASUREMENTS for sample in profile.samples)
    assert len(profile.reference_ms) == 2 * MEASUREMENTS  # two groups
    first_round = fake.seen[1:11]
    assert len(set(first_round)) > 5
    assert fake.seen[12:22] == first_round  # then the same networks again
    for sample in profile.samples:
        assert sample.latency_ms == min(measurement.least_ms for measurement in sample.measurements)


@pytest.mark.parametrize("visits_to_live", [0, 5, 17, 33, 40])
def test_killed_campaign_goes_on_where_it_was(
    tmp_path: Path, machine: Callable[..., FakeMachine], visits_to_live: int
) -> None:
    out = tmp_path / "p.json"
    machine(visits_to_live)
    with pytest.raises(KilledError):
        measure(out)
    before = read(out)
    assert before.fit is None
    assert (
        sum(len(s.measurements) for s in before.samples) + len(before.reference_ms)
        == visits_to_live
    )
    fake = machine()
    profile = measure(out, resume=True)
    assert [s.digest for s in profile.samples] == [s.digest for s in before.samples]
    assert all(len(sample.measurements) == MEASUREMENTS for sample in profile.samples)
    for old, new in zip(before.samples, profile.samples, strict=True):
        assert new.measurements[: len(old.measurements)] == old.measurements
    visited = sum(len(s.measurements) for s in profile.samples) - sum(
        len(s.measurements) for s in before.samples
    )
    references = len(profile.reference_ms) - len(before.reference_ms)
    assert len(fake.seen) == visited + references
    assert profile.fit is not None


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"precision": "int8"}, "precision was fp32, not int8"),
        ({"engine": "torch"}, "runtime was onnxruntime, not torch"),
        ({"session_options": SessionOptions(threads=2)}, "threads was 1, not 2"),
        ({"space": SPACES["tiny"].for_task(4, (64, 64))}, "space_digest was"),
        ({"samples": 15}, "samples was 14, not 15"),
        ({"seed": 1}, "seed was 0, not 1"),
    ],
)
def test_profile_of_other_settings_is_not_resumed(
    tmp_path: Path, machine: Callable[..., FakeMachine], changes: dict[str, Any], what: str
) -> None:
    machine(20)
    with pytest.raises(KilledError):
        measure(tmp_path / "p.json")
    before = (tmp_path / "p.json").read_bytes()
    machine()
    with pytest.raises(UsageError, match=what):
        measure(tmp_path / "p.json", resume=True, **changes)
    assert (tmp_path / "p.json").read_bytes() == before


def test_profile_of_another_machine_is_not_resumed(
    tmp_path: Path, machine: Callable[..., FakeMachine]
) -> None:
    machine(20)
    out = tmp_path / "p.json"
    with pytest.raises(KilledError):
        measure(out)
    other = dataclasses.replace(read(out), fingerprint={"id": "elsewhere"})
    out.write_text(to_json(other))
    with pytest.raises(UsageError, match="machine was elsewhere"):
        measure(out, resume=True)


def test_fit_says_how_well_it_predicts(tmp_path: Path, machine: Callable[..., FakeMachine]) -> None:
    machine()
    fit = measure(tmp_path / "p.json", samples=20).fit
    assert fit is not None
    assert fit.mape < 0.02  # latency is a hundredth off the MACs
    assert fit.spearman > 0.95


def test_version_is_that_of_the_engine() -> None:
    assert engine_version("onnxruntime") == importlib.metadata.version("onnxruntime")
    assert engine_version("torch") == importlib.metadata.version("torch")


def steady(wall_over_cpu: float = 1.0) -> Measurement:
    return Measurement(least_ms=1.0, p50_ms=1.0, iqr_ms=0.0, wall_over_cpu=wall_over_cpu)


def test_busy_and_drifting_machines_are_told() -> None:
    assert list(measurement_warnings([1.0, 1.05], [steady(), steady(1.2)])) == []
    (drift,) = measurement_warnings([1.0, 1.2], [steady()])
    assert "1.00 to 1.20 ms" in drift
    (busy,) = measurement_warnings([1.0], [steady(), steady(1.5)])
    assert "in 1 of 2 measurements" in busy
    assert "1.5 times" in busy
