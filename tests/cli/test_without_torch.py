"""bench and eval of an exported model need numpy, Pillow, typer, the engine, and no more.

So a Jetson with the system's TensorRT can do it. ONNX Runtime stands in for TensorRT here, whose
session loads nothing else either (see `test_rooms`). Of the two COCO engines `eval` needs the one
that `--scorer` names.
"""

from __future__ import annotations

import json

import pytest

from detkit.evaluation.evaluate import SCORERS

ABSENT = ("torch", "onnx", "onnxscript", "onnxsim", "onnxslim", "safetensors", "openvino", "rich")
MODULES = {"fast": "faster_coco_eval", "pycocotools": "pycocotools"}


def script_without(*modules: str) -> str:
    """`detkit` in a process where importing any of `modules` fails."""
    return f"""
import sys
for name in {modules}:
    sys.modules[name] = None
from detkit.cli.app import main
code = main()
assert not [name for name in {modules} if sys.modules.get(name)]
sys.exit(code)
"""


@pytest.mark.parametrize("nms", [False, True])
def test_bench_runs_an_exported_model(detkit, cell_model, cell_folder, nms):
    script = script_without(*ABSENT, *MODULES.values())
    flags = ("--seconds", "0", "--runs", "20", "--data", str(cell_folder), "--json")
    done = detkit("bench", str(cell_model(nms=nms)), *flags, script=script)
    assert done.returncode == 0, done.stderr
    (model,) = json.loads(done.stdout)["models"]
    assert model["latency_ms"]["p50"] > 0
    assert model["end_to_end_ms"]["preprocess"] > 0


@pytest.mark.parametrize("scorer", SCORERS)
def test_eval_scores_an_exported_model_by_the_one_scorer_there_is(
    detkit, cell_model, cell_folder, scorer
):
    (other,) = (module for name, module in MODULES.items() if name != scorer)
    flags = ("--scorer", scorer, "--json")
    args = ("eval", str(cell_model()), str(cell_folder), *flags)
    done = detkit(*args, script=script_without(*ABSENT, other))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ap"] == pytest.approx(1)


def test_eval_without_its_scorer_says_which_one_to_install(detkit, cell_model, cell_folder):
    args = ("eval", str(cell_model()), str(cell_folder))
    done = detkit(*args, script=script_without(*ABSENT, "faster_coco_eval"))
    assert (done.returncode, done.stdout) == (4, "")
    assert "error: faster-coco-eval is not installed" in done.stderr
    assert "hint: pip install faster-coco-eval, or --scorer pycocotools" in done.stderr


def test_predict_and_info_run_there_too(detkit, described_graph, cell_folder, tmp_path):
    script = script_without(*ABSENT, *MODULES.values())
    path, out = str(described_graph("yolov8")), str(tmp_path / "out")
    args = ("predict", path, str(cell_folder / "images"), "-o", out, "--outputs", "yolov8")
    done = detkit(*args, script=script)
    assert done.returncode == 0, done.stderr
    done = detkit("info", path, script=script)
    assert "--outputs yolov8" in done.stdout
