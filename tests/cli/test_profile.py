"""The round trip of a device: its profile, a search on it, the front measured, the search again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detkit.cli import app
from detkit.core.serialization import from_json, to_plain
from detkit.report import HardwareProfile, MeasuredFront, ParetoPoint
from detkit.spec.zoo import ZOO, with_task
from detkit.timing import cpu_time
from detkit.timing.plan import TimingPlan

QUICK = TimingPlan(min_seconds=0, min_runs=3, blocks=1, warmup_seconds=0, max_warmup_seconds=0)
SPACE = ("--space", "tiny", "--imgsz", "64")
ENGINE = ("--precision", "int8", "--runtime", "onnxruntime")


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs a verb in this process: exit code, stdout, stderr."""
    monkeypatch.setattr(cpu_time, "SAMPLE_PLAN", QUICK)
    monkeypatch.setattr(app, "_prepare_process", lambda: None)

    def call(*args: object) -> tuple[int, str, str]:
        code = app.main([str(arg) for arg in args])
        return code, *capfd.readouterr()

    return call


def test_profile_serves_a_search_whose_front_comes_back_measured(
    run: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    profile, out, measured = (tmp_path / name for name in ("p.json", "out", "measured.json"))
    asked = ("profile", *SPACE, *ENGINE, "--classes", 3, "--samples", 8, "-o", profile)
    code, stdout, stderr = run(*asked)
    assert (code, stdout) == (0, f"{profile}\n"), stderr
    assert "8 networks of tiny" in stderr
    fit = from_json(HardwareProfile, profile.read_text()).fit
    assert fit is not None

    search = ("search", *SPACE, *ENGINE, "--latency-profile", profile, "-o", out)
    code, _, stderr = run(*search, "--set", "classes=3", "--trials", 3)
    assert code == 0, stderr
    assert "predicted" in stderr
    front = json.loads((out / "pareto.json").read_text())
    assert {(point["measured"], point["latency_error"]) for point in front} == {(False, fit.mape)}

    code, stdout, stderr = run("profile", out / "pareto.json", *ENGINE, "-o", measured)
    assert code == 0, stderr
    found = from_json(MeasuredFront, measured.read_text())
    assert [network.digest for network in found.networks] == [point["digest"] for point in front]
    assert stdout.splitlines()[1].split()[0] == front[0]["name"]

    code, _, stderr = run("search", "-o", out, "--resume", "--measured", measured)
    assert code == 0, stderr
    points = {p["digest"]: p for p in json.loads((out / "pareto.json").read_text())}
    for network in found.networks:
        if network.digest in points:
            assert points[network.digest]["measured"]
            assert points[network.digest]["latency_ms"] == network.latency_ms


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (("profile",), 2, "a profile is a file"),
        (("profile", "-o", "x.json", "--resume"), 2, "no profile to resume"),
        (("profile", "-o", "x.json", "--precision", "fp16"), 2, "no fp16 on onnxruntime"),
        (("profile", "-o", "x.json", "--space", "huge"), 2, "unknown space"),
        (("bench",), 2, "missing argument 'MODEL'"),
        (("advise", "a.safetensors"), 2, "missing option '--data'"),
    ],
)
def test_what_makes_no_sense_is_refused_before_any_work(
    run: Callable[..., tuple[int, str, str]], args: tuple[str, ...], code: int, message: str
) -> None:
    done = run(*args)
    assert done[:2] == (code, "")
    assert message in done[2]


def test_front_slower_than_the_limit_exits_3(
    run: Callable[..., tuple[int, str, str]], sample: Callable[..., Any], tmp_path: Path
) -> None:
    front = tmp_path / "pareto.json"
    spec = with_task(ZOO["yolo-nas-p"], 3, (64, 64))
    front.write_text(json.dumps([to_plain(sample(ParetoPoint, arch=to_plain(spec)))]))
    code, stdout, stderr = run("profile", front, "--max-ms", 0.0001)
    assert code == 3
    assert "is above 0.0001" in stderr
    assert stdout.startswith("network")
