"""Detections of one image -> labels. Boxes are `(x, score, class)`: 10 x 10 pixels at x."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from detkit.config import LabelConfig
from detkit.core.boxes import Detections
from detkit.labelling.classes import ClassMap, LabelClasses, plan_classes
from detkit.labelling.image_labels import label_image

MODEL = ("car", "truck", "dog")
CONFIG = LabelConfig(score=0.5)


def detections(*rows: tuple[float, float, int]) -> Detections:
    best_first = sorted(rows, key=lambda row: -row[1])
    boxes = np.array([(x, 0, x + 10, 10) for x, _, _ in best_first], np.float32).reshape(-1, 4)
    scores = np.array([score for _, score, _ in best_first], np.float32)
    return Detections(boxes, scores, np.array([label for _, _, label in best_first], np.int64))


def rows(found: Detections) -> list[tuple[float, float, int]]:
    columns = found.boxes_xyxy[:, 0], found.scores.astype(np.float64).round(3), found.classes
    return list(zip(*(column.tolist() for column in columns), strict=True))


def planned(config: LabelConfig = CONFIG, **asked: Any) -> LabelClasses:
    human_names = asked.pop("human_names", ())
    return plan_classes(MODEL, config, ClassMap(**asked), human_names=human_names)


def test_scores_from_the_least_on_are_labels_and_from_half_of_it_near_misses() -> None:
    found = detections((0, 0.9, 0), (20, 0.5, 1), (40, 0.49, 2), (60, 0.26, 0), (80, 0.25, 0))
    chosen = label_image(found, planned(), CONFIG)
    assert rows(chosen.labels) == [(0, 0.9, 0), (20, 0.5, 1)]
    assert rows(chosen.near_misses) == [(40, 0.49, 2), (60, 0.26, 0)]


def test_each_class_has_its_own_least_score() -> None:
    found = detections((0, 0.6, 0), (20, 0.6, 1))
    chosen = label_image(found, planned(scores={"car": 0.7}), CONFIG)
    assert rows(chosen.labels) == [(20, 0.6, 1)]
    assert rows(chosen.near_misses) == [(0, 0.6, 0)]


def test_boxes_of_joined_classes_are_suppressed_again() -> None:
    found = detections((0, 0.9, 0), (1, 0.8, 1), (1, 0.7, 2), (50, 0.6, 1))
    labels = {"car": "vehicle", "truck": "vehicle"}
    chosen = label_image(found, planned(labels=labels), CONFIG)
    assert rows(chosen.labels) == [(0, 0.9, 0), (1, 0.7, 1), (50, 0.6, 0)]
    apart = label_image(found, planned(), CONFIG)
    assert len(apart.labels) == 4


def test_a_label_is_not_suppressed_by_a_near_miss_of_a_higher_score() -> None:
    found = detections((0, 0.6, 0), (1, 0.55, 1))
    joined = {"car": "vehicle", "truck": "vehicle"}
    chosen = label_image(found, planned(labels=joined, scores={"car": 0.8}), CONFIG)
    assert rows(chosen.labels) == [(1, 0.55, 0)]
    assert len(chosen.near_misses) == 0


def test_dropped_classes_and_boxes_of_no_size_leave_nothing() -> None:
    found = detections((0, 0.9, 2))
    assert len(label_image(found, planned(labels={"dog": None}), CONFIG).labels) == 0
    flat = Detections(np.array([[5, 5, 9, 5.5]], np.float32), found.scores, found.classes)
    assert len(label_image(flat, planned(), CONFIG).labels) == 0


def test_no_more_labels_than_asked_for_and_the_rest_are_no_near_misses() -> None:
    config = LabelConfig(score=0.5, max_boxes=2)
    found = detections(*((20.0 * i, 0.9 - i / 100, 0) for i in range(5)))
    chosen = label_image(found, planned(config), config)
    assert len(chosen.labels) == 2
    assert len(chosen.near_misses) == 0


def test_near_misses_are_one_for_an_object_and_none_where_a_box_is(
    make_record: Callable[..., Any],
) -> None:
    found = detections((0, 0.9, 0), (1, 0.4, 1), (50, 0.4, 0), (51, 0.3, 1), (80, 0.3, 2))
    assert rows(label_image(found, planned(), CONFIG).near_misses) == [(50, 0.4, 0), (80, 0.3, 2)]
    human = make_record([(80, 0, 90, 10)], [0])
    chosen = label_image(found, planned(human_names=("cow",)), CONFIG, human)
    assert rows(chosen.near_misses) == [(50, 0.4, 1)]


def test_classes_that_an_image_of_people_says_nothing_of_are_the_models(
    make_record: Callable[..., Any],
) -> None:
    human = make_record([(0, 0, 10, 10)], [0])
    human = dataclasses.replace(human, known=np.array([True, False]))
    found = detections((50, 0.9, 0), (80, 0.8, 1))
    chosen = label_image(found, planned(human_names=("car", "truck")), CONFIG, human)
    assert rows(chosen.labels) == [(80, 0.8, 1)]


def test_classes_that_people_labelled_are_left_to_them(make_record: Callable[..., Any]) -> None:
    classes = planned(human_names=("car",))
    found = detections((0, 0.9, 0), (50, 0.9, 0), (80, 0.8, 2), (0, 0.3, 0))
    chosen = label_image(found, classes, CONFIG, make_record([(0, 0, 10, 10)], [0]))
    assert rows(chosen.labels) == [(80, 0.8, 2)]
    assert len(chosen.near_misses) == 0
    assert (chosen.left_to_humans, chosen.matched_humans) == (2, 0)
    unlabelled = label_image(found, classes, CONFIG)
    assert len(unlabelled.labels) == 3


def test_gaps_are_filled_where_no_person_drew_the_same(make_record: Callable[..., Any]) -> None:
    config = LabelConfig(score=0.5, human_classes="fill")
    classes = planned(config, human_names=("car",))
    found = detections((3, 0.9, 0), (4, 0.8, 0), (3, 0.7, 1))  # IoU 7/13 and 6/14 with the box
    chosen = label_image(found, classes, config, make_record([(0, 0, 10, 10)], [0]))
    assert rows(chosen.labels) == [(4, 0.8, 0), (3, 0.7, 1)]
    assert (chosen.left_to_humans, chosen.matched_humans) == (0, 1)


def test_inside_a_crowd_region_nothing_is_added(make_record: Callable[..., Any]) -> None:
    config = LabelConfig(score=0.5, human_classes="fill")
    crowd = make_record([(0, 0, 400, 400)], [0], crowd=True)
    found = detections((3, 0.9, 0), (500, 0.8, 0))
    chosen = label_image(found, planned(config, human_names=("car",)), config, crowd)
    assert rows(chosen.labels) == [(500, 0.8, 0)]
