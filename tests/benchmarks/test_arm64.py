from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "arm64.py"


@pytest.fixture(scope="module")
def arm64() -> ModuleType:
    spec = importlib.util.spec_from_file_location("arm64", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["arm64"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_wheels_are_those_that_the_glibc_of_the_system_can_load(arm64: ModuleType) -> None:
    options = arm64.pip_options("3.10")  # of Ubuntu 22.04, glibc 2.35
    assert "manylinux_2_35_aarch64" in options
    assert "manylinux_2_36_aarch64" not in options
    assert options[options.index("--python-version") + 1] == "3.10"


def test_the_largest_difference_is_of_single_images_and_of_batches(
    arm64: ModuleType, tmp_path: Path
) -> None:
    def write(name: str, far: float) -> Path:
        same, other = np.zeros(2), np.array([0.0, far])
        np.savez(
            tmp_path / name,
            images=same,
            boxes=same,
            scores=same,
            batch_boxes=other,
            batch_scores=same,
        )
        return tmp_path / name

    found = arm64.differences(write("here.npz", 0.0), write("there.npz", 0.25))
    assert found == {"images": 0.0, "boxes_px": 0.25, "scores": 0.0}
