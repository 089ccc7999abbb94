from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detkit.data.find_images import find_images, names_below_common_folder
from detkit.engines.opening import open_session
from detkit.predict import Prediction, Unreadable, drawn_names, predict_images, write_predictions
from detkit.report.detections import PredictReport


def run(model: Path, sources: list[Path], out: Path) -> PredictReport:
    session, paths = open_session(model), find_images(sources)
    names = names_below_common_folder(sources, paths)
    return write_predictions(
        predict_images(session, paths), names, session.manifest.class_names, out
    )


def test_detections_are_in_the_images_own_pixels(
    cell_model: Callable[..., Path], tmp_path: Path
) -> None:
    pixels = np.full((128, 256, 3), 114, np.uint8)  # in the 64x64 input at a quarter, rows 16..48
    pixels[:, 128:] = (255, 0, 0)
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    (found,) = predict_images(open_session(cell_model()), [tmp_path / "wide.png"])
    assert isinstance(found, Prediction)
    # half of the two right cells is red, and half padding: (1 + 114/255) / 2 * 2 - 1
    assert found.detections.scores.tolist() == pytest.approx([114 / 255, 114 / 255], abs=0.01)
    boxes = found.detections.boxes_xyxy.tolist()
    assert sorted(boxes) == [[128, 0, 256, 64], [128, 64, 256, 128]]
    assert np.array_equal(found.image, pixels)


def test_the_written_detections_can_be_scored_by_pycocotools(
    cell_model: Callable[..., Path], cell_folder: Path, tmp_path: Path
) -> None:
    from pycocotools.coco import COCO

    report = run(cell_model(), [cell_folder / "images"], tmp_path / "out")
    with contextlib.redirect_stdout(io.StringIO()):
        images = COCO(tmp_path / "out" / "images.json")
        loaded = images.loadRes(str(tmp_path / "out" / "detections.json"))
    assert report.detections == len(loaded.anns) == 5
    by_name = {image["file_name"]: image["id"] for image in images.dataset["images"]}
    assert sorted(by_name) == ["a.png", "b.png", "d.png", "deep/c.png"]
    first = loaded.imgToAnns[by_name["a.png"]][0]
    assert first["bbox"] == [0, 0, 32, 32]
    assert (first["category_name"], images.cats[first["category_id"]]["name"]) == ("red", "red")
    assert first["file_name"] == "a.png"


def test_every_image_is_drawn_under_its_own_name(
    cell_model: Callable[..., Path], cell_folder: Path, tmp_path: Path
) -> None:
    report = run(cell_model(), [cell_folder / "images"], tmp_path / "out")
    drawn = sorted(str(Path(p).relative_to(tmp_path / "out")) for p in report.drawn)
    assert drawn == ["a.jpg", "b.jpg", "d.jpg", "deep/c.jpg"]
    with Image.open(tmp_path / "out" / "a.jpg") as image:
        assert image.size == (64, 64)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a/x.png", "b/x.png"], ["a/x.jpg", "b/x.jpg"]),
        (["x.jpg", "x.png"], ["x.jpg", "x.png.jpg"]),
        (["x.jpg", "x.png", "x.png.jpg"], ["x.jpg", "x.png.jpg", "x.png.jpg.jpg"]),
        (["x", "x.y"], ["x.jpg", "x.y.jpg"]),
    ],
)
def test_drawn_names_are_distinct(names: list[str], expected: list[str]) -> None:
    assert drawn_names(list(map(Path, names))) == list(map(Path, expected))


def test_a_image_that_cannot_be_read_is_told_and_the_rest_goes_on(
    cell_model: Callable[..., Path], cell_folder: Path, tmp_path: Path
) -> None:
    (cell_folder / "images" / "b.png").write_bytes(b"not an image")
    report = run(cell_model(), [cell_folder / "images"], tmp_path / "out")
    (reason,) = report.skipped
    assert "b.png" in reason
    assert report.images == len(report.drawn) == 3
    ids = {entry["image_id"] for entry in json.loads(Path(report.detections_file).read_text())}
    assert ids == {1, 4}  # numbered as given, whether readable or not


def test_no_detections_give_an_empty_list(cell_model: Callable[..., Path], tmp_path: Path) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "black.png")
    report = run(cell_model(), [tmp_path / "black.png"], tmp_path / "out")
    assert report.detections == 0
    assert json.loads(Path(report.detections_file).read_text()) == []


def test_progress_counts_unreadable_images_too(
    cell_model: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"")
    seen: list[int] = []
    results = iter([Unreadable(tmp_path / "bad.jpg", "empty")])
    write_predictions(results, [Path("bad.jpg")], (), tmp_path / "out", on_progress=seen.append)
    assert seen == [1]
