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
    assert done.returncode == 0
    assert done.stderr.startswith("ids of images and classes count from 1; --annotations ")
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


def test_ids_are_those_of_the_annotations(
    detkit: Detkit, cell_model: Callable[..., Path], cell_folder: Path, tmp_path: Path
) -> None:
    path, out = cell_folder / "annotations" / "instances_val.json", tmp_path / "out"
    plain = json.loads(path.read_text())
    numbers = {item["file_name"]: 100 + item["id"] for item in plain["images"]}
    for item in plain["images"]:
        item["id"] += 100
    plain["categories"] = [{"id": 7, "name": "green"}]
    path.write_text(json.dumps(plain))
    args = ("predict", str(cell_model()), str(cell_folder / "images"), "-o", str(out))
    done = detkit(*args, "--annotations", str(path))
    assert done.returncode == 0
    assert "detections are of classes that" in done.stderr
    found = json.loads((out / "detections.json").read_text())
    assert found
    for entry in found:
        assert entry["image_id"] == numbers[entry["file_name"]]
        assert (entry["category_id"], entry["category_name"]) == (7, "green")


def test_without_a_confidence_each_class_has_the_threshold_of_the_model(
    detkit: Detkit, cell_model: Callable[..., Path], cell_folder: Path, tmp_path: Path
) -> None:
    model = cell_model(score_thresholds=(0.999, 0.81))  # red scores 1, green 0.80
    args = ("predict", str(model), str(cell_folder / "images"), "--json")
    own = detkit(*args, "-o", str(tmp_path / "a"))
    assert from_json(PredictReport, own.stdout).detections == 3
    assert "least scores, of the best F1 in validation: red 0.999, green 0.81; --conf" in own.stderr
    given = detkit(*args, "-o", str(tmp_path / "b"), "--conf", "0.25")
    assert from_json(PredictReport, given.stdout).detections == 5
    assert "least scores" not in given.stderr
