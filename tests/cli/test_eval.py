from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from detkit.core.serialization import from_json
from detkit.report import EvalReport
from fixtures.command_line import Detkit


def test_figures_go_to_stdout_and_a_gate_that_is_met_exits_0(
    detkit: Detkit, cell_model: Callable[..., Path], cell_folder: Path
) -> None:
    done = detkit("eval", str(cell_model()), str(cell_folder), "--min-ap", "0.999")
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["AP50", "1.0000"] in lines
    assert lines[-5][:3] == ["red", "1.0000", "1.0000"]
    assert "4 images of val, 5 detections, onnxruntime" in done.stdout


def test_gates_that_are_missed_exit_3_after_the_report(
    detkit: Detkit, cell_model: Callable[..., Path], cell_folder: Path
) -> None:
    path = cell_model(class_names=("green", "red"))
    gates = ("--min-ap", "0.4", "--min-ap50", "0.5")
    done = detkit("eval", str(path), str(cell_folder), "--json", *gates)
    assert done.returncode == 3
    assert done.stderr == "error: AP 0.0000 is below 0.4; AP50 0.0000 is below 0.5\n"
    assert from_json(EvalReport, done.stdout).ap == 0


def test_the_file_of_out_is_what_json_prints(
    detkit: Detkit, cell_model: Callable[..., Path], cell_folder: Path, tmp_path: Path
) -> None:
    args = ("eval", str(cell_model()), str(cell_folder), "--json", "-o", str(tmp_path / "e.json"))
    done = detkit(*args)
    assert (tmp_path / "e.json").read_text() == done.stdout
    again = detkit(*args)
    assert (again.returncode, again.stdout) == (2, "")
    assert "--force" in again.stderr


def test_an_exported_model_is_scored_without_torch(
    detkit: Detkit, cell_model: Callable[..., Path], cell_folder: Path
) -> None:
    script = (
        "import sys; sys.modules['torch'] = None\nfrom detkit.cli.app import main; sys.exit(main())"
    )
    done = detkit("eval", str(cell_model()), str(cell_folder), "--json", script=script)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ap"] == pytest.approx(1)


def test_an_annotation_file_may_be_named(
    detkit: Detkit, cell_model: Callable[..., Path], cell_folder: Path, tmp_path: Path
) -> None:
    annotations = tmp_path / "mine.json"
    (cell_folder / "annotations" / "instances_val.json").rename(annotations)
    named = ("--annotations", str(annotations))
    done = detkit("eval", str(cell_model()), str(cell_folder / "images"), *named, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["images"] == 4


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (("--split", "test"), 1, "no split 'test'"),
        (("--scorer", "coco"), 2, "scorer"),
        (("--min-ap", "45"), 2, "min-ap"),
        (("--runtime", "onnx"), 2, "unknown engine 'onnx'"),
        (("--device", "cuda"), 4, "cuda"),
    ],
)
def test_what_cannot_be_is_told_without_a_traceback(
    detkit: Detkit,
    cell_model: Callable[..., Path],
    cell_folder: Path,
    args: tuple[str, str],
    code: int,
    message: str,
) -> None:
    done = detkit("eval", str(cell_model()), str(cell_folder), *args)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert "Traceback" not in done.stderr
