"""examples/plain_onnxruntime.py, which knows nothing of detkit, against `detkit predict`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detkit.engines.exporting import ExportOptions
from detkit.engines.onnxruntime.export import export
from fixtures.command_line import Detkit

SCRIPT = Path(__file__).parents[1] / "examples" / "plain_onnxruntime.py"


@pytest.mark.parametrize("size", [(64, 64), (64, 96)])
def test_it_finds_what_predict_finds(
    settled: Callable[..., Path],
    cell_folder: Path,
    detkit: Detkit,
    tmp_path: Path,
    size: tuple[int, int],
) -> None:
    model, images = tmp_path / "m.onnx", tmp_path / "images"
    export(settled(), model, ExportOptions(image_size=size))
    images.mkdir()
    for number, path in enumerate(sorted((cell_folder / "images").iterdir())[:3]):
        with Image.open(path) as image:  # wider, higher and larger than the input
            image.convert("RGB").resize((90 + 50 * number, 170 - 60 * number)).save(
                images / f"{number}.png"
            )
    done = detkit("predict", str(model), str(images), "--conf", "0.3", "-o", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    wanted = json.loads((tmp_path / "out" / "detections.json").read_text())
    files = sorted(map(str, images.iterdir()))
    plain = subprocess.run(
        [sys.executable, SCRIPT, model, *files, "--conf", "0.3"],
        capture_output=True,
        text=True,
        check=True,
    )
    found = [line.split("\t") for line in plain.stdout.splitlines()]
    assert len(found) == len(wanted) > 5
    order = {name: number for number, name in enumerate(sorted(files), start=1)}
    for row, detection in zip(found, wanted, strict=True):
        left, top, width, height = detection["bbox"]
        assert order[row[0]] == detection["image_id"]
        assert float(row[2]) == pytest.approx(detection["score"], abs=1e-4)
        corners = np.array(row[3].split(), float)
        assert np.allclose(corners, [left, top, left + width, top + height], atol=0.02)
