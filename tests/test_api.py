"""The front door for Python: what `detkit.load` opens gives what the command line gives."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import detkit
from detkit.core.errors import ArtifactError, DataError, UsageError
from detkit.spec.onnx_description import OnnxDescription
from detkit.spec.onnx_presets import PRESETS
from fixtures.command_line import Detkit

EXAMPLE = Path(__file__).parents[1] / "examples" / "python_api.py"


def test_importing_detkit_imports_nothing_else() -> None:
    script = (
        "import sys; before = set(sys.modules); import detkit; detkit.__version__\n"
        "print(sorted({name.split('.')[0] for name in set(sys.modules) - before}))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    heavy = {"numpy", "torch", "PIL", "typer", "onnxruntime"}
    assert not heavy & set(eval(done.stdout))


def test_every_public_name_is_there_and_an_unknown_one_is_not() -> None:
    assert all(getattr(detkit, name) is not None for name in detkit.__all__)
    assert set(detkit._HOMES) | {"__version__"} == set(detkit.__all__) == set(dir(detkit))
    with pytest.raises(AttributeError, match="no attribute 'lod'"):
        detkit.lod  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize("as_type", [str, Path])
def test_a_str_is_as_good_as_a_path(
    cell_model: Callable[..., Path], cell_folder: Path, as_type: type
) -> None:
    model = detkit.load(as_type(cell_model()))
    image = cell_folder / "images" / "a.png"
    assert len(model.predict(as_type(image))) == len(model.predict([as_type(image)])[0])
    assert detkit.evaluate(as_type(cell_model()), as_type(cell_folder)).ap == 1
    assert detkit.read_manifest(as_type(cell_model())).class_names == model.classes


def test_path_bytes_array_and_pil_image_give_the_same(
    cell_model: Callable[..., Path], cell_folder: Path
) -> None:
    model = detkit.load(cell_model())
    for path in (cell_folder / "images").rglob("*.png"):
        with Image.open(path) as opened:
            opened.load()
        array = np.array(opened.convert("RGB"))
        one, *others = model.predict([path, path.read_bytes(), array, opened])
        for other in others:
            assert np.array_equal(one.boxes_xyxy, other.boxes_xyxy)
            assert np.array_equal(one.scores, other.scores)
            assert one.names == other.names


def test_results_are_those_of_the_command_line(
    detkit_cli: Detkit, settled: Callable[..., Path], labelled: Path, tmp_path: Path
) -> None:
    images = sorted((labelled / "images").rglob("*.png"))[:9]  # more than one chunk
    out = tmp_path / "out"
    done = detkit_cli("predict", settled(), *images, "-o", out, "--conf", 0.3, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    rows = json.loads((out / "detections.json").read_text())
    results = detkit.load(settled()).predict(list(images), conf=0.3)
    boxes = [box for result in results for box, _, _ in result]
    assert len(rows) == len(boxes) > 0
    corners = np.array([row["bbox"] for row in rows])
    corners[:, 2:] += corners[:, :2]
    assert np.abs(corners - np.array(boxes)).max() < 0.02
    assert [row["category_name"] for row in rows] == [n for r in results for n in r.names]


def test_result_draws_and_saves(
    cell_model: Callable[..., Path], cell_folder: Path, tmp_path: Path
) -> None:
    found = detkit.load(cell_model()).predict(cell_folder / "images" / "a.png")
    assert found.draw().shape == found.image.shape
    assert (found.draw() != found.image).any()
    assert found.save(str(tmp_path / "drawn.png")) == tmp_path / "drawn.png"


def test_a_model_of_another_tool_is_opened_with_its_outputs(
    described_graph: Callable[..., Path], cell_folder: Path
) -> None:
    with pytest.raises(ArtifactError, match="no detkit manifest"):
        detkit.load(described_graph("yolov8"))
    model = detkit.load(described_graph("yolov8"), outputs="yolov8")
    assert len(model.predict(cell_folder / "images" / "a.png", conf=0.5)) == 2


def turned(image: Image.Image, orientation: int) -> Image.Image:
    """The image as a camera stores it: opened from a JPEG with an EXIF orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = io.BytesIO()
    image.save(data, "PNG", exif=exif)
    return Image.open(io.BytesIO(data.getvalue()))


def test_a_pil_image_is_turned_upright_as_its_file_is(
    cell_model: Callable[..., Path], cell_folder: Path, tmp_path: Path
) -> None:
    with Image.open(cell_folder / "images" / "a.png") as opened:
        stored = turned(opened.convert("RGB"), 6)
    stored.save(tmp_path / "turned.png", exif=stored.getexif())
    one, two = detkit.load(cell_model()).predict([stored, tmp_path / "turned.png"])
    assert np.array_equal(one.image, two.image)
    assert np.array_equal(one.boxes_xyxy, two.boxes_xyxy)
    assert one.image.shape == (stored.width, stored.height, 3)


def test_a_16_bit_pil_image_keeps_its_range(cell_model: Callable[..., Path]) -> None:
    gray = Image.fromarray(np.full((8, 8), 257 * 100, np.uint16))
    assert (detkit.load(cell_model()).predict(gray).image == 100).all()


def test_a_damaged_pil_image_is_a_data_error(
    cell_model: Callable[..., Path], cell_folder: Path
) -> None:
    data = (cell_folder / "images" / "a.png").read_bytes()
    with (
        Image.open(io.BytesIO(data[: len(data) // 2])) as cut,
        pytest.raises(DataError, match="image"),
    ):
        detkit.load(cell_model()).predict(cut)


@pytest.mark.parametrize("gather", [list, tuple, iter, lambda paths: (p for p in paths)])
def test_any_iterable_of_images_gives_a_list(
    cell_model: Callable[..., Path], cell_folder: Path, gather: Callable[..., Any] | type
) -> None:
    paths = sorted((cell_folder / "images").glob("*.png"))[:3]
    results = detkit.load(cell_model()).predict(gather(paths), batch=2)
    assert isinstance(results, list)
    assert len(results) == len(paths)


def test_iou_is_refused_where_the_graph_has_its_nms(
    described_graph: Callable[..., Path], cell_folder: Path
) -> None:
    model = detkit.load(described_graph("yolov10"), outputs=named_spec("yolov10", ("red", "green")))
    image = cell_folder / "images" / "a.png"
    assert model.predict(image) is not None
    with pytest.raises(UsageError, match="NMS in the graph"):
        model.predict(image, iou=0.5)


def named_spec(preset: str, names: tuple[str, ...]) -> OnnxDescription:
    return dataclasses.replace(PRESETS[preset], class_names=names)


def test_classes_that_nothing_names_are_refused(described_graph: Callable[..., Path]) -> None:
    with pytest.raises(UsageError, match="does not name its classes"):
        detkit.load(described_graph("yolov10"), outputs="yolov10")


def test_classes_are_taken_from_where_the_description_says(
    described_graph: Callable[..., Path], cell_folder: Path, tmp_path: Path
) -> None:
    about = {"preset": "yolov10", "classes_from": str(cell_folder)}
    (tmp_path / "about.json").write_text(json.dumps(about))
    model = detkit.load(described_graph("yolov10"), outputs=tmp_path / "about.json")
    assert model.classes == ("red", "green")


def test_evaluate_names_the_folder_it_was_given_opened(
    cell_model: Callable[..., Path], cell_folder: Path
) -> None:
    report = detkit.evaluate(cell_model(), detkit.open_folder(cell_folder), batch=3)
    assert report.data == str(cell_folder)
    assert report.ap == 1


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("nothing.png", "nothing.png"),
        (np.zeros((4, 4), np.uint8), r"shape \(4, 4\) and type uint8: expected \(H, W, 3\)"),
        (np.zeros((4, 4, 3), np.float32), "type float32: expected"),
        (np.zeros((0, 4, 3), np.uint8), r"shape \(0, 4, 3\)"),
        (7, "int is no image: expected a path"),
        ([[7]], "list is no image: expected a path"),
    ],
)
def test_what_is_no_image_is_refused(
    cell_model: Callable[..., Path], image: Any, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        detkit.load(cell_model()).predict(image)


def test_a_threshold_out_of_range_is_refused(
    cell_model: Callable[..., Path], cell_folder: Path
) -> None:
    with pytest.raises(UsageError, match="conf 25"):
        detkit.load(cell_model()).predict(cell_folder / "images" / "a.png", conf=25)


def test_the_example_runs(
    cell_model: Callable[..., Path], cell_folder: Path, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), str(cell_model()), str(cell_folder)],
        cwd=tmp_path,
        env={**os.environ},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "AP 1.0000 on 4 images" in done.stdout
    assert (tmp_path / "detections.jpg").is_file()


@pytest.fixture
def detkit_cli() -> Detkit:
    def run(*args: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "detkit", *map(str, args)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120)

    return run


@pytest.mark.parametrize("form", ["raw", "nms"])
def test_the_thresholds_of_a_model_are_its_default_confidence(
    cell_model: Callable[..., Path], cell_folder: Path, form: str
) -> None:
    model = detkit.load(cell_model(nms=form == "nms", score_thresholds=(0.1, 0.81)))
    image = cell_folder / "images" / "a.png"
    assert model.facts.score_thresholds == (0.1, 0.81)
    assert model.predict(image).names == ("red",)
    assert model.predict(image, conf=0.25).names == ("red", "green")
    report = detkit.evaluate(model, cell_folder)  # scoring takes every score
    assert report.ap == 1.0
