"""Precision and recall of a threshold: by hand, and against pycocotools' own matches."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from detkit.core.boxes import Detections
from detkit.evaluation.operating_point import best_f1


def found(boxes: Any, scores: Any, classes: Any) -> Detections:
    return Detections(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        np.array(classes, np.int64),
    )


A, B, C = [0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]
FAR = [80, 80, 90, 90]


def test_the_best_threshold_of_a_hand_worked_class(make_record: Callable[..., Any]) -> None:
    record = make_record([A, B, C], [0, 0, 0])
    #            hit  miss  hit   miss  -> F1 2/4, 2/5, 4/6, 4/7
    detections = found([A, FAR, B, FAR], [0.9, 0.8, 0.7, 0.6], [0, 0, 0, 0])
    together, (point,) = best_f1([record], 1, [detections])
    assert point == together
    assert point.confidence == pytest.approx(0.7)
    assert (point.precision, point.recall, point.f1) == pytest.approx((2 / 3, 2 / 3, 2 / 3))


def test_equal_scores_are_kept_or_dropped_together(make_record: Callable[..., Any]) -> None:
    record = make_record([A], [0])
    # a threshold of 0.5 keeps all three; one cannot keep the hit alone
    _, (point,) = best_f1([record], 1, [found([A, FAR, FAR], [0.5, 0.5, 0.5], [0, 0, 0])])
    assert (point.precision, point.recall) == pytest.approx((1 / 3, 1))


def test_together_one_threshold_serves_all_classes(make_record: Callable[..., Any]) -> None:
    record = make_record([A, B], [0, 1])
    detections = found([A, B, FAR, FAR], [0.9, 0.3, 0.6, 0.5], [0, 1, 0, 0])
    together, (first, second) = best_f1([record], 2, [detections])
    assert (first.confidence, second.confidence) == pytest.approx((0.9, 0.3))
    # mean F1 is (1 + 0) / 2 at 0.9 and (1/2 + 1) / 2 at 0.3, where micro precision is 2 / 4
    assert together.confidence == pytest.approx(0.3)
    assert (together.precision, together.recall) == pytest.approx((1 / 2, 1))
    assert together.f1 == pytest.approx(2 / 3)


def test_detections_on_a_crowd_are_neither_right_nor_wrong(make_record: Callable[..., Any]) -> None:
    record = make_record([A, [60, 60, 100, 100]], [0, 0], crowd=[False, True])
    detections = found([FAR, A, FAR], [0.9, 0.8, 0.7], [0, 0, 0])
    _, (point,) = best_f1([record], 1, [detections])
    assert (point.precision, point.recall) == (1, 1)


def test_a_ground_truth_is_found_once(make_record: Callable[..., Any]) -> None:
    _, (point,) = best_f1([make_record([A], [0])], 1, [found([A, A], [0.9, 0.9], [0, 0])])
    assert point.precision == 0.5


def test_detections_of_a_class_that_is_not_there_are_wrong(make_record: Callable[..., Any]) -> None:
    record = make_record([A], [0])
    together, (_, absent) = best_f1([record], 2, [found([A, FAR], [0.5, 0.9], [0, 1])])
    assert together.precision == 0.5
    assert (absent.precision, absent.recall, absent.f1) == (None, None, None)


@pytest.mark.parametrize("seed", range(4))
def test_hits_are_those_pycocotools_counts_at_any_threshold(
    random_set: Callable[..., Any], seed: int
) -> None:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    from detkit.evaluation import evaluate

    records, detections = random_set(seed, num_classes=3)
    _, points = best_f1(records, 3, detections)
    for k, point in enumerate(points):
        kept = [
            Detections(d.boxes_xyxy[keep], d.scores[keep], d.classes[keep])
            for d in detections
            for keep in [(d.classes == k) & (d.scores >= np.float32(point.confidence))]
        ]
        with contextlib.redirect_stdout(io.StringIO()):
            truth, results = COCO(), COCO()
            names = [{"id": i} for i in (1, 2, 3)]
            images = [{"id": i + 1} for i in range(len(records))]
            for coco, entries in (
                (truth, evaluate._truth_entries(records)),
                (results, evaluate._found_entries(kept)),
            ):
                coco.dataset = {"images": images, "categories": names, "annotations": entries}
                coco.createIndex()
            scorer = COCOeval(truth, results, "bbox")
            scorer.params.iouThrs, scorer.params.catIds = np.array([0.5]), [k + 1]
            scorer.evaluate()
        matches = [e for e in scorer.evalImgs if e and e["aRng"][0] == 0 and e["aRng"][1] > 1e9]
        counted = sum(int((~e["dtIgnore"].astype(bool)).sum()) for e in matches)
        hits = sum(int(((e["dtMatches"] > 0) & ~e["dtIgnore"].astype(bool)).sum()) for e in matches)
        total = sum(int((~np.array(e["gtIgnore"], bool)).sum()) for e in matches)
        assert (point.precision, point.recall) == (hits / counted, hits / total)
