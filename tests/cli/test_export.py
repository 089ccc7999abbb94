"""`detkit export` by its flags; what the files hold is in `tests/export`."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from detkit.artifact.artifact import read_manifest, size_of
from detkit.cli.verbs.export import _nms_config
from detkit.nn.checkpoint import load_checkpoint, save_checkpoint
from fixtures.command_line import Detkit

needs_openvino = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="openvino is not installed here"
)
WITHOUT_TORCH = """
import sys
for name in ("torch", "onnx", "onnxruntime"):
    sys.modules[name] = None  # importing it raises
from detkit.cli.app import main
sys.exit(main())
"""


@needs_openvino
def test_stdout_is_the_path_of_the_xml_and_nothing_is_written_at_home(
    detkit: Detkit, checkpoint: Path, tmp_path: Path
) -> None:
    (tmp_path / "home").mkdir()
    args = ("--to", "openvino", str(checkpoint), "-o", str(tmp_path / "m.xml"))
    done = detkit("export", *args, env={"HOME": str(tmp_path / "home")})
    assert (done.returncode, done.stdout) == (0, f"{tmp_path}/m.xml\n"), done.stderr
    assert "largest difference on 8 images" in done.stderr
    assert "weights: float32" in done.stderr
    assert not (tmp_path / "home" / "intel").exists()  # where OpenVINO's telemetry keeps an id


@needs_openvino
def test_a_device_without_torch_does_everything_with_an_openvino_pair(
    detkit: Detkit, cell_model: Callable[..., Path], cell_folder: Path, tmp_path: Path
) -> None:
    from detkit.engines.openvino.export import write_openvino

    cells = cell_model()
    write_openvino(onnx.load(cells), read_manifest(cells), tmp_path / "m.xml")
    model, data = str(tmp_path / "m.xml"), str(cell_folder)

    def run(*args: str) -> dict[str, Any]:
        done = detkit(*args, "--json", script=WITHOUT_TORCH)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    info = run("info", model)
    assert (info["kind"], info["bytes"]) == ("openvino", size_of(Path(model)))
    report = run("eval", model, data)
    assert (report["runtime"], report["ap50"]) == ("openvino", 1.0)
    short = ("--seconds", "0.1", "--runs", "10", "--threads", "1")
    (row,) = run("bench", model, "--data", data, *short)["models"]
    assert (row["runtime"], row["bytes"]) == ("openvino", info["bytes"])
    assert run("predict", model, data, "-o", str(tmp_path / "found"))["images"] == 4


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("--to openvin", "cannot export to 'openvin'"),
        ("--to openvino -o {dir}/m.onnx", "m.onnx: the name of this file must end in .xml"),
        ("--to onnx -o {dir}/m", "m: the name of this file must end in .onnx"),
        ("--to openvino -o {dir}/taken.xml", "taken.bin already exists"),
        ("--to onnx --half -o {dir}/m.onnx", "--half: an ONNX file keeps"),
    ],
)
def test_what_cannot_be_is_a_usage_error(
    detkit: Detkit, checkpoint: Path, tmp_path: Path, args: str, message: str
) -> None:
    (tmp_path / "taken.bin").write_text("somebody's")
    done = detkit("export", *args.format(dir=tmp_path).split(), str(checkpoint))
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert [item.name for item in tmp_path.iterdir()] == ["taken.bin"]


@pytest.mark.parametrize(
    ("thresholds", "conf", "least"),
    [((), None, 0.25), ((0.4, 0.3, 0.5), None, 0.25), ((0.4, 0.1, 0.5), None, 0.1), ((), 0.6, 0.6)],
)
def test_nms_keeps_what_predict_may_take(
    checkpoint: Path,
    tmp_path: Path,
    thresholds: tuple[float, ...],
    conf: float | None,
    least: float,
) -> None:
    model, manifest = load_checkpoint(checkpoint)
    told = dataclasses.replace(manifest, score_thresholds=thresholds)
    save_checkpoint(tmp_path / "m.safetensors", model, told)
    found = _nms_config(tmp_path / "m.safetensors", conf, 0.6)
    assert (found.score_threshold, found.iou_threshold, found.class_thresholds) == (least, 0.6, ())
