"""Which engine opens what, and what outputs turn into; engines themselves are in `test_graph`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from detkit.core.boxes import EVAL_NMS, NmsConfig
from detkit.core.errors import ArtifactError, UsageError
from detkit.engines import ENGINES, engines_of
from detkit.engines.opening import open_session
from detkit.runtime.session import RawOutputs, SuppressedOutputs


def test_every_engine_is_the_first_choice_for_the_files_that_it_writes() -> None:
    for engine in ENGINES.values():
        assert engines_of(engine.reads[0])[0] == engine


def test_a_runtime_that_is_not_for_this_file_is_a_usage_error(
    cell_model: Callable[..., Path],
) -> None:
    path = cell_model()
    with pytest.raises(UsageError, match="torch cannot run") as caught:
        open_session(path, engine="torch")
    assert caught.value.hint == "onnxruntime or openvino can"
    with pytest.raises(UsageError, match="unknown engine 'onnx'") as caught:
        open_session(path, engine="onnx")
    assert "onnxruntime" in caught.value.hint


def test_suppressed_outputs_are_cut_sorted_and_thresholded() -> None:
    outputs = SuppressedOutputs(
        counts=np.array([3, 0]),
        boxes=np.arange(32, dtype=np.float32).reshape(2, 4, 4),
        scores=np.array([[0.2, 0.9, 0.5, 0.99], [0.9, 0, 0, 0]], np.float32),
        classes=np.array([[0, 1, 2, 3], [0, 0, 0, 0]]),
    )
    first, second = outputs.detections(NmsConfig(score_threshold=0.2))
    assert first.classes.tolist() == [1, 2]  # not 3, which is padding; not 0, which is not above
    assert first.boxes_xyxy.tolist() == [[4, 5, 6, 7], [8, 9, 10, 11]]
    assert len(second) == 0
    assert len(outputs.detections(NmsConfig(max_detections=1))[0]) == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_outputs_that_are_not_finite_are_refused_not_dropped(bad: float) -> None:
    scores = np.zeros((1, 4, 2), np.float32)
    scores[0, 2, 1] = bad
    with pytest.raises(ArtifactError, match="NaN or Inf"):
        RawOutputs(np.zeros((1, 4, 4), np.float32), scores).detections(EVAL_NMS)
