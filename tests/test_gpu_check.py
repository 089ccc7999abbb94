"""examples/gpu_check.sh on a machine without a GPU; with one, it is a check of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from detkit.core.errors import BackendError
from detkit.machine.gpu import find_gpu

SCRIPT = Path(__file__).parents[1] / "examples" / "gpu_check.sh"


def test_without_a_gpu_every_check_is_reported_as_not_made() -> None:
    try:
        find_gpu()
    except BackendError as error:
        reason = str(error)
    else:
        pytest.skip("there is a GPU here: run examples/gpu_check.sh")
    env = os.environ | {"DETKIT_PYTHON": sys.executable}
    done = subprocess.run([SCRIPT], env=env, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, f"{reason}: nothing can be checked\n")
    found = json.loads(done.stdout)
    assert found["gpu"] is None
    assert len(found["checks"]) == 16
    assert {(c["status"], c["reason"]) for c in found["checks"]} == {("not checked", reason)}


def test_when_the_time_is_over_the_rest_is_reported_as_not_made() -> None:
    env = os.environ | {"DETKIT_PYTHON": sys.executable}
    command = [str(SCRIPT), "--device", "cpu", "--quick", "--minutes", "0"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    checks = json.loads(done.stdout)["checks"]
    assert {check["status"] for check in checks} == {"not checked"}
    reasons = {check["reason"] for check in checks}
    assert "no time left: --minutes allows more" in reasons
    assert "fused.safetensors was not made: see the checks before" in reasons
