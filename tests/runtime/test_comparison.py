from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from detkit.artifact.artifact import Signature
from detkit.core.boxes import EVAL_NMS
from detkit.core.errors import ArtifactError
from detkit.engines.opening import open_session
from detkit.runtime.comparison import compare_raw, compare_suppressed

IMAGES = np.random.default_rng(0).random((5, 3, 64, 64), dtype=np.float32)


def test_a_model_does_not_stray_from_itself(cell_model: Callable[..., Path]) -> None:
    session = open_session(cell_model())
    found = compare_raw(session, session, IMAGES, source="noise")
    assert (found.score, found.box_px, found.images, found.source) == (0, 0, 5, "noise")


def test_the_largest_difference_is_found_in_the_last_incomplete_batch(
    cell_model: Callable[..., Path],
) -> None:
    images = np.zeros_like(IMAGES)
    images[4, 0] = 0.9
    steep = open_session(cell_model("steep.onnx", score_factor=2.1))
    found = compare_raw(open_session(cell_model()), steep, images, source="", batch_size=2)
    assert found.score == pytest.approx(0.1 * 0.9, abs=1e-6)


class Fixed:
    engine = "fixed"

    def __init__(
        self, manifest: Signature, boxes: npt.NDArray[np.float32], scores: npt.NDArray[np.float32]
    ) -> None:
        self.manifest, self.outputs = manifest, (boxes, scores)

    def run(
        self, images_bchw: npt.NDArray[np.float32]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        boxes, scores = (np.repeat(output, len(images_bchw), axis=0) for output in self.outputs)
        return boxes, scores


@pytest.mark.parametrize(
    ("boxes", "scores", "message"),
    [
        (np.zeros((1, 4, 4)), np.zeros((1, 4, 3)), "scores"),
        (np.zeros((1, 6, 4)), np.zeros((1, 4, 2)), "boxes"),
        (np.full((1, 4, 4), np.nan), np.zeros((1, 4, 2)), "NaN"),
    ],
)
def test_outputs_that_cannot_be_compared_are_told(
    cell_model: Callable[..., Path],
    boxes: np.ndarray[Any, Any],
    scores: np.ndarray[Any, Any],
    message: str,
) -> None:
    session = open_session(cell_model())
    other = Fixed(session.manifest, boxes.astype(np.float32), scores.astype(np.float32))
    with pytest.raises(ArtifactError, match=message):
        compare_raw(session, other, IMAGES, source="")


def test_boxes_where_nothing_is_seen_can_be_left_out(cell_model: Callable[..., Path]) -> None:
    session = open_session(cell_model())
    images = np.zeros_like(IMAGES)
    images[:, 0, :32, :32] = 0.75  # a score of 0.5 in the first cell
    boxes, scores = (output[:1].copy() for output in session.run(images))
    boxes[0, 0], boxes[0, 3] = boxes[0, 0] + 2, boxes[0, 3] + 9
    moved = Fixed(session.manifest, boxes, scores)
    found = [
        compare_raw(session, moved, images, source="", least_score=least).box_px
        for least in (0.0, 0.5, 0.6)
    ]
    assert found == [9, 2, 0]


def test_no_images_is_an_error_not_a_difference_of_zero(cell_model: Callable[..., Path]) -> None:
    session = open_session(cell_model())
    with pytest.raises(ArtifactError, match="no images"):
        compare_raw(session, session, IMAGES[:0], source="")


def test_suppression_in_the_graph_is_that_outside(cell_model: Callable[..., Path]) -> None:
    outside, inside = open_session(cell_model()), open_session(cell_model("nms.onnx", nms=True))
    found = compare_suppressed(outside, inside, IMAGES, EVAL_NMS, source="noise", batch_size=2)
    assert (found.score, found.box_px, found.images) == (0, 0, 5)


def test_a_detection_that_vanishes_counts_with_the_score_it_lost(
    cell_model: Callable[..., Path],
) -> None:
    images = np.zeros_like(IMAGES)
    images[3, 0, :32, :32] = 0.75  # a score of 0.5
    images[3, 0, 32:, :32] = 0.55  # 0.1, which is nothing where scores are 1.5 * red - 1
    seeing, blind = open_session(cell_model()), cell_model("blind.onnx", score_factor=1.5)
    found = compare_suppressed(seeing, open_session(blind), images, EVAL_NMS, source="")
    assert found.score == pytest.approx(0.5 - 0.125, abs=1e-6)
