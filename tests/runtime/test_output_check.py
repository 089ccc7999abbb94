"""Values that cannot be what was described are told with a change that makes sense of them."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detkit.core.boxes import EVAL_NMS, Detections
from detkit.core.errors import ArtifactError
from detkit.core.serialization import from_plain, to_plain
from detkit.data.image import network_input
from detkit.runtime.batches import detections_of
from detkit.runtime.output_check import CHECKED_BATCHES, OutputCheck, without_inverted
from detkit.runtime.session import Session
from detkit.spec.onnx_description import OnnxDescription, OutputSpec
from detkit.spec.onnx_presets import PRESETS

PATH, SIZE = Path("m.onnx"), (64, 64)
RAW = OutputSpec(roles=("boxes", "scores"))


def changed(preset: str, changes: dict[str, Any]) -> OnnxDescription:
    plain = to_plain(PRESETS[preset])
    plain["outputs"] |= changes
    plain["input"] = to_plain(PRESETS["raw"].input)
    return from_plain(OnnxDescription, plain)


def found_by(session: Session) -> list[Detections]:
    red, gray, green = (255, 0, 0), (114, 114, 114), (0, 230, 0)
    cells = np.array([[red, gray], [gray, green]], np.uint8)
    image = cells.repeat(32, axis=0).repeat(32, axis=1)
    return detections_of(session, network_input([image], session.manifest.preprocess), EVAL_NMS)


@pytest.mark.parametrize(
    ("graph", "preset", "mistake", "message"),
    [
        ("rt-detr", "rt-detr", {"activation": "none"}, "logits, not within 0..1"),
        ("yolov8", "yolov8", {"activation": "sigmoid"}, "are probabilities already"),
        ("yolov8", "yolov8", {"box_format": "xyxy"}, "as xyxy have negative width or height"),
        ("yolov8", "yolov8", {"normalised": True}, "described as 0..1 of the input, and reach"),
        ("rt-detr", "rt-detr", {"normalised": False}, "as pixels, and all of them lie within 0..1"),
        (
            "yolov10",
            "yolov10",
            {"columns": ["box", "label", "score"]},
            "0.804 are no whole numbers",
        ),
        ("flat", "yolov7-nms", {}, "labels such as 0.804 are no whole numbers"),
        ("rtmdet", "rtmdet", {"normalised": True}, "described as 0..1 of the input, and reach"),
    ],
)
def test_a_mistake_is_told_with_a_change_that_mends_it(
    open_graph: Callable[..., Session],
    described_graph: Callable[..., Path],
    graph: str,
    preset: str,
    mistake: dict[str, Any],
    message: str,
) -> None:
    path = described_graph(graph)
    with pytest.raises(ArtifactError, match=message) as caught:
        found_by(open_graph(path, description=changed(preset, mistake)))
    cure = re.search(r'"outputs": (\{.*?\})\}', caught.value.hint)
    assert cure, caught.value.hint
    mended = changed(preset, mistake | json.loads(cure[1]))
    (found,) = found_by(open_graph(path, description=mended))
    assert found.boxes_xyxy.tolist() == [[0, 0, 32, 32], [32, 32, 64, 64]]
    assert found.classes.tolist() == [0, 1]


def check(
    boxes: list[list[float]], scores: list[float], *, to: OutputCheck | None = None
) -> OutputCheck:
    """Checks raw predictions of one image and one class."""
    chosen = to or OutputCheck(PATH, RAW, SIZE)
    boxes_14, scores_11 = np.array([boxes], np.float32), np.array([scores], np.float32)[..., None]
    chosen.check_raw(scores_11, scores_11, boxes_14, boxes_14)
    return chosen


INVERTED, RIGHT = [30.0, 30.0, 10.0, 10.0], [10.0, 10.0, 30.0, 30.0]


def test_a_few_degenerate_boxes_end_nothing_and_are_never_detections() -> None:
    check([RIGHT, INVERTED, INVERTED], [0.9, 0.04, 0.09])
    check([INVERTED] * 9, [-1.0] * 9)  # rows of padding
    check([INVERTED], [0.2])
    boxes = np.array([[RIGHT, INVERTED]], np.float32)
    scores = np.array([[0.9, 0.2]], np.float32)
    assert without_inverted(boxes, scores).tolist() == [[np.float32(0.9), 0]]
    assert without_inverted(boxes, scores[..., None])[..., 0].tolist() == [[np.float32(0.9), 0]]
    assert without_inverted(boxes[:, :1], scores[:, :1]) is not None


def test_inverted_boxes_are_an_error_once_they_have_much_of_the_score_seen() -> None:
    seen = check([RIGHT] * 3 + [INVERTED], [0.9, 0.9, 0.9, 0.2])
    with pytest.raises(ArtifactError, match=r"negative width or height \(13% of them by score\)"):
        check([INVERTED], [0.2], to=seen)
    with pytest.raises(ArtifactError, match="negative width or height"):
        check([INVERTED], [0.6])


def test_raw_predictions_are_checked_in_the_first_batches_alone() -> None:
    seen = OutputCheck(PATH, RAW, SIZE)
    for _ in range(CHECKED_BATCHES):
        check([RIGHT], [0.9], to=seen)
    check([RIGHT], [7.0], to=seen)
    with pytest.raises(ArtifactError, match="scores up to 7 are not within"):
        check([RIGHT], [7.0])


def test_labels_are_whole_numbers_but_for_padding() -> None:
    spec = dataclasses.replace(RAW, roles=("boxes", "scores", "labels"))
    chosen = OutputCheck(PATH, spec, SIZE)
    there = np.ones((1, 2), np.bool_)
    scores = np.array([[0.9, -1.0]], np.float32)
    chosen.check_final(np.array([[3.0, 0.5]], np.float32), scores, there)
    chosen.check_final(np.array([[3.0, 0.5]], np.float32), np.abs(scores), there & (scores > 0))
    chosen.check_final(np.array([[3, -1]]), np.array([[0.9, 0.04]], np.float32), there)
    for labels, seen, message in (
        ([[3.0, 0.5]], [[0.9, 0.0]], "labels such as 0.5 are no whole numbers"),
        ([[np.nan, 1.0]], [[0.9, 0.0]], "labels such as nan are no whole numbers"),
        ([[3.0, -2.0]], [[0.9, 0.8]], "labels such as -2 are of no class"),
        ([[0.0, 1.0]], [[55.0, 0.8]], "scores up to 55 are not within 0..1"),
    ):
        with pytest.raises(ArtifactError, match=message) as caught:
            OutputCheck(PATH, spec, SIZE).check_final(np.array(labels), np.array(seen), there)
        assert '"roles": ["boxes", "labels", "scores"]' in caught.value.hint


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_left_to_whom_makes_detections(value: float) -> None:
    check([[value, 0, value, 9], RIGHT], [0.9, 0.9])
    spec = dataclasses.replace(RAW, roles=("boxes", "scores", "labels"))
    scores = np.array([[min(value, 0.9)]])
    OutputCheck(PATH, spec, SIZE).check_final(np.array([[1.0]]), scores, np.ones((1, 1), np.bool_))


def test_rows_are_of_images_of_the_batch_or_padding() -> None:
    spec = dataclasses.replace(RAW, roles=("rows",))
    chosen = OutputCheck(PATH, spec, SIZE)
    chosen.check_images(np.array([0.0, 1.0, -1.0, 7.0]), np.array([0.9, 0.8, 0.5, 0.0]), 2)
    for number in (2.0, 0.5):
        with pytest.raises(ArtifactError, match=f"rows are of image {number:g}, in a batch of 2"):
            chosen.check_images(np.array([0.0, number]), np.array([0.9, 0.8]), 2)


def test_the_hint_names_the_formats_that_make_sense_of_the_boxes() -> None:
    for truth, box in (("xywh", [40.0, 40.0, 20.0, 20.0]), ("cxcywh", [50.0, 50.0, 26.0, 26.0])):
        with pytest.raises(ArtifactError, match="negative") as caught:
            check([box] * 4, [0.9] * 4)
        assert f'"{truth}"' in caught.value.hint
    wild = [500.0, 20.0, 10.0, 10.0]
    with pytest.raises(ArtifactError, match="negative") as caught:
        check([wild] * 4, [0.9] * 4)
    assert caught.value.hint == "detkit info m.onnx lists the presets that fit"
