from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from detkit.core.errors import UsageError
from detkit.core.serialization import from_json, to_json
from detkit.spec.onnx_description import OnnxDescription, OutputSpec
from detkit.spec.onnx_presets import PRESETS, read_description


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_survives_json_and_is_found_by_name(name: str) -> None:
    assert from_json(OnnxDescription, to_json(PRESETS[name])) == PRESETS[name]
    assert read_description(name) == PRESETS[name]


@pytest.mark.parametrize(
    ("name", "resize", "pad_value", "pad_place"),
    [
        ("nanodet", "letterbox", 0, "center"),
        ("nanodet-plus", "stretch", None, None),
        ("picodet", "stretch", None, None),
        ("damo-yolo", "stretch", None, None),
        ("effdet", "letterbox-floor", 115, "corner"),
    ],
)
def test_images_are_fitted_as_the_tool_of_the_preset_does(
    name: str, resize: str, pad_value: int | None, pad_place: str | None
) -> None:
    taken = PRESETS[name].input
    assert taken.resize == resize
    if resize != "stretch":
        assert (taken.pad_value, taken.pad_place) == (pad_value, pad_place)


def write(tmp_path: Path, plain: Any) -> str:
    path = tmp_path / "mine.json"
    path.write_text(plain if isinstance(plain, str) else json.dumps(plain))
    return str(path)


def test_a_file_may_say_only_what_differs_from_a_preset(tmp_path: Path) -> None:
    changes = {"preset": "detr", "input": {"size": [800, 800]}, "class_names": ["a", "b"]}
    spec = read_description(write(tmp_path, changes))
    assert spec.input.size == (800, 800)
    assert spec.input.mean == PRESETS["detr"].input.mean
    assert (spec.outputs, spec.class_names) == (PRESETS["detr"].outputs, ("a", "b"))


def test_classes_are_looked_for_beside_the_description(tmp_path: Path) -> None:
    for preset in ("raw", "yolox"):  # of which one has class names of its own
        path = write(tmp_path, {"preset": preset, "classes_from": "coco/train.json"})
        assert read_description(path).classes_from == str(tmp_path / "coco" / "train.json")


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "expected a table"),
        ({"preset": "yolo8"}, "unknown preset 'yolo8'"),
        ({"preset": "raw", "input": {"sise": [1, 2]}}, "mine.json.input: unknown key 'sise'"),
        ({"preset": "raw", "input": 3}, "expected a table"),
        ({"input": {}}, "missing outputs"),
        ({"outputs": {"roles": ["boxes"]}}, "boxes make no detections"),
        ({"outputs": {"roles": ["boxes", "scores", "counts"]}}, "make no detections"),
        ({"preset": "raw", "outputs": {"box_format": "xyhw"}}, "unknown 'xyhw'"),
        ({"preset": "raw", "outputs": {"names": {"box": "x"}}}, "unknown 'box'"),
        ({"preset": "yolov10", "outputs": {"columns": ["box"]}}, "are needed"),
        ({"preset": "raw", "class_names": ["a"], "classes_from": "x"}, "one of them"),
        ({"preset": "raw", "outputs": {"box_format": "grid"}}, "grid needs strides"),
        ({"preset": "yolox", "outputs": {"normalised": True}}, "gives pixels"),
        ({"preset": "yolov10", "outputs": {"strides": [8]}}, "of raw predictions alone"),
        ({"preset": "yolox", "outputs": {"strides": [8, 0]}}, "pixels a cell"),
        ({"preset": "raw", "outputs": {"box_format": "dfl", "strides": [8]}}, "reg_max: of the"),
        ({"preset": "raw", "outputs": {"reg_max": 7}}, "reg_max: of the box_format dfl"),
        ({"preset": "raw", "outputs": {"roles": ["scores", "scores", "boxes"]}}, "no detections"),
        ({"preset": "rtmdet", "outputs": {"roles": ["detections"]}}, "make no detections"),
    ],
)
def test_a_description_that_does_not_hold_together_is_refused(
    tmp_path: Path, plain: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        read_description(write(tmp_path, plain))


def test_a_name_that_is_neither_preset_nor_file_suggests_the_near_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown preset 'yolo8'") as caught:
        read_description("yolo8")
    assert "did you mean 'yolov8'?" in caught.value.hint
    with pytest.raises(UsageError, match="no such description file"):
        read_description(str(tmp_path / "lost.json"))


def test_only_raw_scores_that_are_no_set_are_suppressed_by_detkit() -> None:
    assert not PRESETS["yolov8"].outputs.is_suppressed
    assert PRESETS["detr"].outputs.is_suppressed
    assert PRESETS["torchvision"].outputs.is_suppressed
    assert OutputSpec(roles=("scores", "boxes")).is_raw
