from __future__ import annotations

import numpy as np
import pytest

from detkit.data.coco.suspicion import (
    WrittenBoxes,
    corners,
    suspect_boxes,
    suspect_classes,
    suspect_images,
    suspect_sizes,
)

SIZE = (640.0, 480.0)


def xywh(count: int = 60, seed: int = 0) -> np.ndarray:
    """Boxes (N, 4) that lie within an image of SIZE."""
    rng = np.random.default_rng(seed)
    sides = rng.uniform(0.05, 0.5, (count, 2)) * SIZE
    left_top = rng.uniform(0, 1, (count, 2)) * (SIZE - sides)
    return np.concatenate([left_top, sides], axis=1)


def written(quads: np.ndarray, **more: object) -> WrittenBoxes:
    count = len(quads)
    plain = {"area": np.zeros(count), "crowd": np.zeros(count, bool), **more}
    return WrittenBoxes(xywh=quads, sizes=np.tile(SIZE, (count, 1)), **plain)  # type: ignore[arg-type]


def remedies(boxes: WrittenBoxes) -> list[str]:
    return [found.remedy.partition(" -o")[0] for found in suspect_boxes("train", boxes, "convert")]


def misread(form: str, unit: str) -> np.ndarray:
    """What is read as xywh pixels where boxes were written in another form or unit."""
    boxes = xywh()
    left_top, sides = boxes[:, :2], boxes[:, 2:]
    parts = {
        "xywh": (left_top, sides),
        "xyxy": (left_top, left_top + sides),
        "cxcywh": (left_top + sides / 2, sides),
    }
    scale = {"pixels": 1.0, "shares": np.tile(SIZE, 2), "percent": np.tile(SIZE, 2) / 100}[unit]
    misread: np.ndarray = np.concatenate(parts[form], axis=1) / scale
    return misread


def test_boxes_within_their_images_are_not_suspicious() -> None:
    boxes = xywh()
    assert remedies(written(boxes)) == []
    assert remedies(written(boxes, area=boxes[:, 2:].prod(axis=1))) == []
    assert remedies(written(boxes, area=0.6 * boxes[:, 2:].prod(axis=1))) == []
    assert remedies(written(np.tile([0.0, 0.0, *SIZE], (30, 1)))) == []
    assert remedies(written(np.zeros((0, 4)))) == []


@pytest.mark.parametrize(
    ("form", "unit", "flag"),
    [
        ("xyxy", "pixels", "--box-form xyxy"),
        ("cxcywh", "pixels", "--box-form cxcywh"),
        ("xywh", "shares", "--box-unit shares"),
        ("xyxy", "shares", "--box-unit shares --box-form xyxy"),
        ("cxcywh", "shares", "--box-unit shares --box-form cxcywh"),
        ("xywh", "percent", "--box-unit percent"),
    ],
)
def test_other_forms_and_units_are_named(form: str, unit: str, flag: str) -> None:
    assert remedies(written(misread(form, unit))) == [f"convert {flag}"]


def test_corners_near_the_origin_are_told_by_their_area() -> None:
    boxes = xywh() / 4
    quads = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    assert remedies(written(quads)) == []
    area = boxes[:, 2:].prod(axis=1)
    assert remedies(written(quads, area=area)) == ["convert --box-form xyxy"]


def test_numbers_of_yolo_rows_in_pixels_or_per_cent_are_named() -> None:
    sides = np.tile(SIZE, 2)
    for unit, raw in (("pixels", xywh()), ("percent", xywh() / sides * 100)):
        quads = np.concatenate([raw[:, :2], raw[:, 2:]], axis=1) * sides  # read as shares
        boxes = written(quads, form="xywh", unit="shares")
        assert remedies(boxes) == [f"convert --box-unit {unit}"]


def test_what_fits_no_form_is_told_without_a_guess() -> None:
    (found,) = suspect_boxes("train", written(10 * xywh()), "convert")
    assert "another size" in found.cause


def test_crowds_alone_are_told() -> None:
    boxes = xywh(10)
    (found,) = suspect_boxes("val", written(boxes, crowd=np.arange(10) < 6), "convert")
    assert found.line.startswith("val: 6 of 10 boxes are crowd regions")
    assert "--no-crowd" in found.remedy
    assert suspect_boxes("val", written(boxes, crowd=np.arange(10) < 4), "convert") == []


@pytest.mark.parametrize(
    ("counts", "told"), [((3, 2, 0), 1), ((3, 1, 0), 0), ((0, 0, 0), 0), ((3, 0, 3), 1)]
)
def test_most_images_without_boxes_or_dark_are_told(
    counts: tuple[int, int, int], told: int
) -> None:
    assert len(suspect_images("train", *counts)) == told


def test_classes_that_are_never_trained_are_told() -> None:
    trained = {"cat": 4, "dog": 0}
    (found,) = suspect_classes("val", {"cat": 1, "dog": 2}, trained)
    assert "'dog'" in found.cause
    assert suspect_classes("val", {"cat": 1, "dog": 0}, trained) == []


def test_objects_that_vanish_are_told_with_a_size_that_shows_them() -> None:
    sides, scales = np.full(10, 12.0), np.full(10, 64 / 2000)
    (found,) = suspect_sizes("train", sides, scales, 64)
    assert found.remedy.startswith("--imgsz 1344 ")
    assert suspect_sizes("train", sides, np.full(10, 0.5), 1000) == []
    (tiles,) = suspect_sizes("train", np.full(10, 2.0), scales, 64)
    assert "tiles" in tiles.remedy


@pytest.mark.parametrize("form", ["xywh", "cxcywh", "xyxy"])
def test_infinite_boxes_are_judged_without_a_warning(form: str) -> None:
    quads = np.array([[np.inf, 0, np.inf, 4], [-np.inf, 1, np.inf, 1], [1, 2, 3, 4]])
    found = corners(quads, form)
    assert found.shape == (3, 4)
    assert np.isfinite(found[2]).all()
