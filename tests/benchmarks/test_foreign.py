"""Detections of other packages: what counts as the same, and what the table says."""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from detkit.core.boxes import Detections
from detkit.spec.onnx_presets import read_description

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def _benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def benchmark(name: str) -> Any:
    """A module of the benchmarks."""
    return importlib.import_module(name)


def found(*rows: tuple[float, ...]) -> Detections:
    """Each row is x1, y1, x2, y2, score, class."""
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Detections(table[:, :4], table[:, 4], table[:, 5].astype(np.int64))


A, B = (0.0, 0.0, 10.0, 10.0, 0.9, 1.0), (5.0, 5.0, 9.0, 9.0, 0.5, 2.0)


def test_order_does_not_matter_and_the_largest_difference_is_told() -> None:
    agreement = benchmark("foreign_matching").agreement
    moved = (0.0, 0.0, 10.005, 10.0, 0.90005, 1.0)
    result = agreement([found(A, B)], [found(B, moved)], conf=0.25)
    assert result.is_equal
    assert result.box_px == pytest.approx(0.005, rel=1e-3)
    assert result.score == pytest.approx(5e-5, rel=1e-2)


@pytest.mark.parametrize(
    "other",
    [
        found(A),
        found(A, B, (20.0, 20.0, 30.0, 30.0, 0.6, 2.0)),
        found(A, (*B[:5], 3.0)),
        found(A, (*B[:4], 0.4, 2.0)),
        found(A, (8.0, 5.0, 12.0, 9.0, 0.5, 2.0)),
        found(A, B, B),
    ],
    ids=["missing", "too many", "class", "score", "place", "twice"],
)
def test_a_detection_that_one_side_alone_has_makes_them_unequal(other: Detections) -> None:
    agreement = benchmark("foreign_matching").agreement
    result = agreement([found(A, B)], [other], conf=0.25)
    assert result.unpaired
    assert not result.is_equal


def test_small_differences_beyond_rounding_are_no_equality() -> None:
    agreement = benchmark("foreign_matching").agreement
    result = agreement([found(A)], [found((0.0, 0.5, 10.0, 10.0, 0.9, 1.0))], conf=0.25)
    assert result.is_same
    assert not result.is_equal


def test_the_threshold_and_boxes_without_area_decide_nothing() -> None:
    agreement = benchmark("foreign_matching").agreement
    at_it, outside = (0.0, 0.0, 5.0, 5.0, 0.25005, 0.0), (10.0, 0.0, 10.0, 8.0, 0.8, 0.0)
    assert agreement([found(A, at_it)], [found(A, outside)], conf=0.25).is_equal


def test_nothing_found_is_no_proof() -> None:
    agreement = benchmark("foreign_matching").agreement
    assert not agreement([found()], [found()], conf=0.25).is_equal


def test_yolox_is_decoded_as_the_paper_says() -> None:
    decoded = benchmark("foreign_yolox").decoded
    raw = np.zeros((21, 6), np.float32)  # a 32 px input: 16 cells of stride 8, 4 of 16, 1 of 32
    raw[5] = [0.5, 0.25, np.log(2), 0, 0.5, 0.8]  # column 1, row 1 of stride 8
    boxes, scores = decoded(raw, 32)
    assert boxes[5].tolist() == pytest.approx([4, 6, 20, 14])
    assert scores[5].tolist() == pytest.approx([0.4])
    assert boxes[20].tolist() == [-16, -16, 16, 16]


def test_every_model_is_read_by_a_description_that_holds_together(tmp_path: Path) -> None:
    for package in benchmark("foreign_models.packages").PACKAGES.values():
        assert package.models
        for model in package.models:
            path = tmp_path / "outputs.json"
            path.write_text(json.dumps(model.outputs))
            read_description(model.outputs if isinstance(model.outputs, str) else str(path))


def test_the_table_tells_what_failed_and_counts_what_is_equal() -> None:
    table_lines = benchmark("foreign").table_lines
    good = {"package": "a", "model": "m", "outputs": "yolov8", "version": "1", "detections": 9}
    good |= {
        "unpaired": 0,
        "box_px": 0.001,
        "score": 1e-5,
        "equal": True,
        "batch": "same",
        "info": ["yolov8"],
    }
    bad = {"package": "b", "model": "n", "outputs": {"preset": "raw"}, "failed": "not installed"}
    lines = table_lines([good, bad])
    assert lines[2] == "| a 1 | m | `yolov8` | 9 | 0.001 | 1e-05 | same |"
    assert "not installed" in lines[3]
    assert lines[-1].startswith("1 of 2 equal")
    assert lines[-1].endswith("Of 1 that a preset reads, `info` names it for 1.")


@pytest.mark.parametrize(
    ("images", "size"), [("any", (32, 21)), ("even", (32, 20)), ("square", (32, 32))]
)
def test_images_are_written_in_the_size_of_the_input(
    images: str, size: tuple[int, int], tmp_path: Path
) -> None:
    (tmp_path / "images").mkdir()
    Image.new("RGB", (64, 42)).save(tmp_path / "images" / "a.jpg")
    recipe = benchmark("foreign_models.recipe")
    model = recipe.ForeignModel(name="m", outputs="raw", size=(32, 32), images=images)
    benchmark("foreign").write_images(tmp_path, tmp_path / "out", model)
    with Image.open(tmp_path / "out" / "0.png") as written:
        assert written.size == size


def test_a_package_on_no_index_is_not_installed_without_its_checkout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("NANODET", raising=False)
    package = benchmark("foreign_models.packages").PACKAGES["nanodet"]
    assert package.install(tmp_path) == 1
    assert "$NANODET names no checkout" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_packages_leave_this_process_alone() -> None:
    benchmark("foreign_models.packages")
    assert not {"ultralytics", "transformers", "torchvision", "ppdet"} & set(sys.modules)
