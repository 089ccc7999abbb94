from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from detkit.evaluation.score_thresholds import score_thresholds
from detkit.report import ClassScore, Figures


@pytest.mark.parametrize(
    ("confidence", "boxes", "expected"),
    [
        (0.6124, 0, 0.299),  # nothing speaks for its own: the shared one, strictly below
        (0.6, 100, 0.449),  # half way
        (0.6124, 10**9, 0.612),
        (None, 50, 0.299),  # nothing found
        (0.0004, 10**9, 0.0),
        (1.0, 10**9, 0.999),
    ],
)
def test_a_class_has_its_own_threshold_as_far_as_its_boxes_speak_for_it(
    sample: Callable[..., Any], confidence: float | None, boxes: int, expected: float
) -> None:
    score = dataclasses.replace(sample(ClassScore), confidence=confidence, boxes=boxes)
    figures = dataclasses.replace(sample(Figures), confidence=0.3, per_class={"a": score})
    assert score_thresholds(figures) == (expected,)


def test_no_threshold_where_nothing_was_found(sample: Callable[..., Any]) -> None:
    assert score_thresholds(dataclasses.replace(sample(Figures), confidence=None)) == ()
