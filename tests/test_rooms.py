"""The architecture, checked: who may import whom, who owns which third party, how long a file is.

A room is a module or a package directly under `detkit`. Imports inside functions and under
`TYPE_CHECKING` count like any other.
"""

from __future__ import annotations

import ast
import graphlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import detkit

ROOT = Path(detkit.__file__).parent
MAX_LINES = 400
MAX_FUNCTION_LINES = 60

# A room imports only rooms on lower steps.
STEPS = (
    ("core",),
    ("config", "report", "spec"),
    ("artifact",),
    ("machine", "onnx_signature", "starter"),
    ("data", "nn", "runtime"),
    ("timing",),
    ("export", "inspection"),
    ("engines", "pages"),
    ("bench", "checks", "evaluation", "importing", "labelling", "predict", "reparam"),
    ("api",),
    ("train",),
    ("quantize",),
    ("untrained",),
    ("advise", "compare", "profile"),
    ("search",),
    ("cli",),
    ("__main__",),
)

# Third party -> the only files and folders that import it. What is not here is not imported.
OWNERS = {
    "typer": ("cli/",),
    "rich": ("cli/",),
    "PIL": ("data/",),
    "jinja2": ("pages/page.py",),
    "markupsafe": ("pages/",),
    "yaml": ("data/converters/yolo_yaml.py",),
    "numpy": ("api.py", "core/boxes.py", "data/", "evaluation/", "predict.py", "bench/", "timing/")
    + ("labelling/", "runtime/", "engines/", "train/", "export/", "quantize/", "profile/")
    + ("search/",),
    "torch": ("nn/", "engines/", "data/training/")
    + ("importing/", "reparam.py", "train/", "export/", "quantize/", "search/scoring/"),
    "safetensors": ("nn/checkpoint.py", "train/state.py"),
    "pycocotools": ("evaluation/evaluate.py",),
    "faster_coco_eval": ("evaluation/evaluate.py",),
    "onnx": ("export/", "engines/", "untrained.py"),
    "onnxsim": ("export/",),
    "onnxslim": ("export/",),
    "onnxruntime": ("engines/onnxruntime/",),
    "openvino": ("engines/openvino/api.py",),
    "tensorrt": ("engines/tensorrt/build_machine.py",),
    "tensorrt_rtx": ("engines/tensorrt/build_machine.py",),
    "pycuda": ("engines/tensorrt/device.py",),
    "cuda": ("engines/tensorrt/device.py",),
    "ray": ("search/cluster/ray.py",),
    "tensorboard": ("train/loggers/tensorboard.py",),
    "mlflow": ("train/loggers/mlflow.py",),
    "tomli": ("config/resolve.py",),
}


def files() -> list[str]:
    return sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py"))


def imports(file: str) -> Iterator[str]:
    """Dotted names that a file imports; `from a import b` is `a.b`."""
    for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file} imports relatively: write the full name"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(file: str) -> str:
    return file.split("/")[0].removesuffix(".py")


def step_of(room: str) -> int:
    found = [i for i, rooms in enumerate(STEPS) if room in rooms]
    assert found, f"'{room}' is a new room: give it its step in STEPS"
    return found[0]


def file_of(name: str) -> str:
    """The file of `detkit.x.y`, which may be a name inside the file of `detkit.x`."""
    parts = name.split(".")[1:]
    for end in range(len(parts), -1, -1):
        path = "/".join(parts[:end])
        for candidate in (f"{path}.py", f"{path}/__init__.py".lstrip("/")):
            if (ROOT / candidate).is_file():
                return candidate
    raise AssertionError(f"nothing is called {name}")


@pytest.mark.parametrize("file", files())
def test_imports_go_down_the_steps(file: str) -> None:
    room = room_of(file)
    for name in imports(file):
        other = name.split(".")[1] if name.startswith("detkit.") else room
        if other == room or room == "__init__":
            continue
        assert step_of(other) < step_of(room), f"{file} must not import detkit.{other}"


@pytest.mark.parametrize("file", files())
def test_third_parties_stay_at_home(file: str) -> None:
    for name in imports(file):
        party = name.split(".")[0]
        if party == "detkit" or party in sys.stdlib_module_names:
            continue
        homes = OWNERS.get(party, ())
        at_home = any(file == home or (home[-1] == "/" and file.startswith(home)) for home in homes)
        assert at_home, f"{file} must not import {party}, whose home is {homes or 'nowhere'}"


def test_files_do_not_import_in_circles() -> None:
    graph = {
        file: {file_of(name) for name in imports(file) if name.startswith("detkit.")} - {file}
        for file in files()
    }
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(f"import cycle: {' <- '.join(error.args[1])}")


@pytest.mark.parametrize("file", files())
def test_files_stay_short(file: str) -> None:
    lines = len((ROOT / file).read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_LINES, f"{file} has {lines} lines: split it"


@pytest.mark.parametrize("file", files())
def test_functions_stay_short(file: str) -> None:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            assert node.end_lineno is not None
            lines = node.end_lineno - node.lineno + 1
            assert lines <= MAX_FUNCTION_LINES, f"{file}: {node.name} has {lines} lines"


# Folders inside a room that stand on each other, the lowest first.
INSIDE = {
    "search": ("strategies", "scoring", "cluster", "study"),
    "data": ("coco", "converters"),
}


@pytest.mark.parametrize("room", INSIDE)
def test_folders_of_a_room_stand_on_each_other(room: str) -> None:
    order = INSIDE[room]
    for file in files():
        folder = file.split("/")[1] if file.startswith(f"{room}/") else ""
        if folder not in order:
            continue
        for name in imports(file):
            parts = name.split(".")
            other = parts[2] if parts[:2] == ["detkit", room] and len(parts) > 2 else folder
            if other in order:
                assert order.index(other) <= order.index(folder), f"{file} must not import {name}"


def test_strategies_know_nothing_of_detectors() -> None:
    for file in files():
        if file.startswith("search/strategies/"):
            known = ("detkit.core.errors.", "detkit.search.strategies.")
            ours = [name for name in imports(file) if name.startswith("detkit.")]
            assert [name for name in ours if not name.startswith(known)] == [], file
