from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from detkit.core.serialization import from_json
from detkit.report import PredictReport
from fixtures.command_line import Detkit


def test_stdout_is_the_paths_of_what_was_made(
    detkit: Detkit, cell_model: Callable[..., Path], cell_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    done = detkit("predict", str(cell_model()), str(cell_folder / "images"), "-o", str(out))
    assert (done.returncode, done.stderr) == (0, "")
    names = ("detections.json", "a.jpg", "b.jpg", "d.jpg", "deep/c.jpg")
    assert done.stdout.splitlines() == [str(out / name) for name in names]
    assert all((out / name).is_file() for name in (*names, "images.json"))


def test_confidence_and_iou_are_those_given(
    detkit: Detkit, cell_model: Callable[..., Path], cell_folder: Path, tmp_path: Path
) -> None:
    args = ("predict", str(cell_model()), str(cell_folder / "images"), "--json")
    loose = detkit(*args, "-o", str(tmp_path / "a"), "--conf", "0", "--iou", "1")
    strict = detkit(*args, "-o", str(tmp_path / "b"), "--conf", "0.9")
    assert from_json(PredictReport, loose.stdout).detections == 5
    assert from_json(PredictReport, strict.stdout).detections == 3  # green is at 0.80


def test_unreadable_images_are_listed_and_exit_1(
    detkit: Detkit, cell_model: Callable[..., Path], cell_folder: Path, tmp_path: Path
) -> None:
    (cell_folder / "images" / "b.png").write_bytes(b"?")
    args = ("predict", str(cell_model()), str(cell_folder / "images"), "--json")
    done = detkit(*args, "-o", str(tmp_path / "out"))
    assert done.returncode == 1
    assert len(json.loads(done.stdout)["skipped"]) == 1
    assert "b.png" in done.stderr
    assert "error: 1 of 4 images could not be read" in done.stderr


def test_a_folder_that_is_not_empty_is_refused_unless_forced(
    detkit: Detkit, cell_model: Callable[..., Path], cell_folder: Path, tmp_path: Path
) -> None:
    photos = shutil.copytree(cell_folder / "images", tmp_path / "photos")
    out = photos / "out"
    args = ("predict", str(cell_model()), str(photos), "-o", str(out))
    assert detkit(*args).returncode == 0
    again = detkit(*args)
    assert (again.returncode, again.stdout) == (2, "")
    assert "already exists" in again.stderr
    forced = detkit(*args, "--force")  # and what was drawn before is no input now
    assert len(forced.stdout.splitlines()) == 5


def test_nothing_is_drawn_into_data_or_among_images_of_the_user(
    detkit: Detkit, cell_model: Callable[..., Path], cell_folder: Path, tmp_path: Path
) -> None:
    photos = shutil.copytree(cell_folder / "images", tmp_path / "photos")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    args = ("predict", str(cell_model()), str(photos), "--force", "-o")
    for out, message in (
        (cell_folder / "images", "which is never written to"),
        (cell_folder, "which is never written to"),
        (photos, "lies in"),
    ):
        done = detkit(*args, str(out))
        assert (done.returncode, done.stdout) == (2, "")
        assert message in done.stderr
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".onnx"]
    assert {path: path.read_bytes() for path in files} == before


def test_the_iou_of_a_graph_with_nms_cannot_be_changed(
    detkit: Detkit, cell_model: Callable[..., Path], cell_folder: Path, tmp_path: Path
) -> None:
    args = ("predict", str(cell_model(nms=True)), str(cell_folder / "images"))
    done = detkit(*args, "-o", str(tmp_path / "a"), "--iou", "0.5")
    assert (done.returncode, done.stdout) == (2, "")
    assert "--iou" in done.stderr
    assert detkit(*args, "-o", str(tmp_path / "b"), "--conf", "0.5").returncode == 0
