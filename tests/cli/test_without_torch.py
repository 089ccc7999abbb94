"""bench and eval of an exported model need numpy, Pillow, typer, the engine, and no more.

So a Jetson with the system's TensorRT can do it. ONNX Runtime stands in for TensorRT here, whose
session loads nothing else either (see `test_rooms`). Of the two COCO engines `eval` needs the one
that `--scorer` names.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from detkit.evaluation.evaluate import SCORERS
from fixtures.command_line import Detkit
from test_rooms import files

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# What a light install lacks: the modules of everything that pyproject.toml has in an extra.
OPTIONAL = (
    *("torch", "onnx", "onnxscript", "onnxsim", "onnxslim", "safetensors", "ray"),
    *("openvino", "tensorrt", "tensorrt_rtx", "cuda", "pycuda", "tensorboard", "mlflow"),
)
MODULE_OF = {"tensorrt-rtx-cu13": "tensorrt_rtx", "cuda-bindings": "cuda"}  # else it is the name
ABSENT = (*OPTIONAL, "rich")
MODULES = {"fast": "faster_coco_eval", "pycocotools": "pycocotools"}

# An exported model is checked, scored, timed and drawn with on a device that has no torch.
LIGHT = tuple(
    f"detkit.{name}"
    for name in ("artifact", "bench", "cli", "core", "data.coco", "data.draw", "data.image")
    + ("evaluation", "inspection", "labelling", "machine", "pages", "predict", "runtime", "timing")
    + ("engines.opening", "engines.onnxruntime.session", "engines.tensorrt.session")
)


def test_what_may_be_missing_is_what_the_extras_bring() -> None:
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    extras = tomllib.loads(text)["project"]["optional-dependencies"]
    brought = {
        re.split(r"[^\w-]", requirement, maxsplit=1)[0]
        for extra, requirements in extras.items()
        if extra not in ("dev", "serve")  # serve is of an example: nothing of detkit imports it
        for requirement in requirements
    } - {"detkit"}
    assert {MODULE_OF.get(name, name.replace("-", "_")) for name in brought} == set(OPTIONAL)


@pytest.mark.parametrize(
    ("rooms", "needed"), [(LIGHT, ""), ("detkit.engines.openvino.session", "openvino")]
)
def test_modules_for_exported_models_import_none_of_it_but_their_engine(
    rooms: str | tuple[str, ...], needed: str
) -> None:
    if needed:
        pytest.importorskip(needed, reason=f"{needed} is not installed here")
    names = ["detkit." + file[:-3].replace("/", ".").removesuffix(".__init__") for file in files()]
    script = f"""
import sys
for name in {[name for name in OPTIONAL if name != needed]}: sys.modules[name] = None
for name in {[name for name in names if name.startswith(rooms)]}: __import__(name)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


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
def test_bench_runs_an_exported_model(
    detkit: Detkit, cell_model: Callable[..., Path], cell_folder: Path, nms: bool
) -> None:
    script = script_without(*ABSENT, *MODULES.values())
    flags = ("--seconds", "0", "--runs", "20", "--data", str(cell_folder), "--json")
    done = detkit("bench", str(cell_model(nms=nms)), *flags, script=script)
    assert done.returncode == 0, done.stderr
    (model,) = json.loads(done.stdout)["models"]
    assert model["latency_ms"]["p50"] > 0
    assert model["end_to_end_ms"]["preprocess"] > 0


@pytest.mark.parametrize("scorer", SCORERS)
def test_eval_scores_an_exported_model_by_the_one_scorer_there_is(
    detkit: Detkit, cell_model: Callable[..., Path], cell_folder: Path, scorer: str
) -> None:
    (other,) = (module for name, module in MODULES.items() if name != scorer)
    flags = ("--scorer", scorer, "--json")
    args = ("eval", str(cell_model()), str(cell_folder), *flags)
    done = detkit(*args, script=script_without(*ABSENT, other))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ap"] == pytest.approx(1)


def test_eval_without_its_scorer_says_which_one_to_install(
    detkit: Detkit, cell_model: Callable[..., Path], cell_folder: Path
) -> None:
    args = ("eval", str(cell_model()), str(cell_folder))
    done = detkit(*args, script=script_without(*ABSENT, "faster_coco_eval"))
    assert (done.returncode, done.stdout) == (4, "")
    assert "error: faster-coco-eval is not installed" in done.stderr
    assert "hint: pip install faster-coco-eval, or --scorer pycocotools" in done.stderr


def test_predict_and_info_run_there_too(
    detkit: Detkit, described_graph: Callable[..., Path], cell_folder: Path, tmp_path: Path
) -> None:
    script = script_without(*ABSENT, *MODULES.values())
    path, out = str(described_graph("yolov8")), str(tmp_path / "out")
    args = ("predict", path, str(cell_folder / "images"), "-o", out, "--outputs", "yolov8")
    done = detkit(*args, script=script)
    assert done.returncode == 0, done.stderr
    done = detkit("info", path, script=script)
    assert "--outputs yolov8" in done.stdout
