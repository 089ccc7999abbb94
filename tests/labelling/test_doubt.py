from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from detkit.core.boxes import Detections
from detkit.labelling.doubt import doubt_of
from detkit.labelling.image_labels import ImageLabels


def found(*rows: tuple[float, float, int]) -> Detections:
    boxes = np.array([(x, 0, x + 10, 10) for x, _, _ in rows], np.float32).reshape(-1, 4)
    scores = np.array([score for _, score, _ in rows], np.float32)
    return Detections(boxes, scores, np.array([label for _, _, label in rows], np.int64))


def doubt(labels: Detections, near: Detections | None = None, human: Any = None) -> float:
    return doubt_of(ImageLabels(labels=labels, near_misses=near or found()), human).value


def test_sure_labels_and_no_labels_leave_no_doubt() -> None:
    assert doubt(found()) == 0
    assert doubt(found((0, 1.0, 0), (50, 1.0, 1))) == 0


def test_labels_are_doubtful_by_what_they_lack_and_near_misses_by_what_they_have() -> None:
    labels, near = found((0, 0.75, 0), (50, 0.5, 1)), found((90, 0.25, 0))
    assert doubt(labels, near) == pytest.approx(0.25 + 0.5 + 0.25)
    told = doubt_of(ImageLabels(labels=labels, near_misses=near))
    assert (told.near_misses, told.conflicts) == (1, 0)


def test_two_classes_on_one_object_are_in_conflict() -> None:
    apart = doubt(found((0, 0.75, 0), (50, 0.5, 1)))
    assert doubt(found((0, 0.75, 0), (1, 0.5, 1))) == pytest.approx(apart + 0.5)
    assert doubt(found((0, 0.75, 0), (1, 0.5, 0))) == pytest.approx(apart)
    three = doubt_of(
        ImageLabels(labels=found((0, 1, 0), (0, 1, 1), (0, 1, 2)), near_misses=found())
    )
    assert (three.value, three.conflicts) == (3, 3)


def test_a_box_of_a_person_is_certain(make_record: Callable[..., Any]) -> None:
    human = make_record([(0, 0, 10, 10)], [5])
    assert doubt(found(), human=human) == 0
    assert doubt(found((0, 0.75, 0)), human=human) == pytest.approx(0.25 + 0.75)
    crowd = make_record([(0, 0, 10, 10)], [5], crowd=True)
    assert doubt(found((0, 0.75, 0)), human=crowd) == pytest.approx(0.25)


def test_one_doubtful_label_more_is_more_doubt() -> None:
    many = [(20.0 * i, 0.6, 0) for i in range(9)]
    doubts = [doubt(found(*many[:count])) for count in range(9)]
    assert doubts == sorted(set(doubts))
