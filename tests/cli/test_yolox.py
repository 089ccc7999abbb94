"""YOLOX-Nano with its published weights, as its exporter writes it, on real photographs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fixtures.command_line import Detkit

SHARED = Path(__file__).resolve().parents[3] / "shared"
MODEL = SHARED / "models" / "yolox_nano.onnx"
IMAGES = SHARED / "data" / "coco_mini"
# On split val; an independent decode and letterbox with pycocotools give 0.29219 and 0.42007.
AP, AP50 = 0.2922, 0.4201

pytestmark = pytest.mark.skipif(
    not (MODEL.exists() and IMAGES.exists()), reason="needs the parity fixtures beside the checkout"
)


def test_the_raw_grid_scores_as_an_independent_decode(detkit: Detkit) -> None:
    done = detkit("eval", str(MODEL), str(IMAGES), "--outputs", "yolox", "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["ap"] == pytest.approx(AP, abs=0.002)
    assert report["ap50"] == pytest.approx(AP50, abs=0.002)
    assert report["per_class"]["person"]["ap50"] > 0.6


def test_info_tells_the_raw_grid_from_a_decoded_one(detkit: Detkit) -> None:
    assert json.loads(detkit("info", str(MODEL), "--json").stdout)["presets"] == ["yolox"]


def test_imported_it_scores_the_same_and_says_its_licence(detkit: Detkit, tmp_path: Path) -> None:
    """Batch-norms are back with other statistics, input is RGB 0..1, and the decode is detkit's."""
    out = tmp_path / "nano.safetensors"
    done = detkit("import", str(MODEL), "-o", str(out))
    assert (done.returncode, done.stdout) == (0, f"{out}\n"), done.stderr
    shown = json.loads(detkit("info", str(out), "--json").stdout)["content"]
    assert (shown["arch"]["name"], shown["licence"]) == ("yolox-nano", "Apache-2.0")
    done = detkit("eval", str(out), str(IMAGES), "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["ap"] == pytest.approx(AP, abs=0.002)
    assert report["ap50"] == pytest.approx(AP50, abs=0.002)
