"""NMS against the stored results of the original, and against a plain loop over pairs."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from detkit.core.boxes import (
    EVAL_NMS,
    PREDICT_NMS,
    Detections,
    NmsConfig,
    area_xyxy,
    clip_xyxy,
    iou_matrix,
    nms,
    xywh_from_xyxy,
    xyxy_from_xywh,
)

SINGLE_LABEL = dataclasses.replace(PREDICT_NMS, multi_label=False)
STORED = {
    "nms_eval": EVAL_NMS,
    "nms_predict": PREDICT_NMS,
    "nms_single_label": SINGLE_LABEL,
    "nms_agnostic": dataclasses.replace(PREDICT_NMS, class_agnostic=True),
}


def crowded(seed: int, *, anchors: int = 300, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Boxes in heaps, scores with many ties."""
    rng = np.random.default_rng(seed)
    centres = rng.uniform(0, 200, (12, 2))[rng.integers(0, 12, anchors)]
    corner = centres + rng.normal(0, 5, (anchors, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(20, 40, (anchors, 2))], axis=1)
    return boxes.astype(np.float32), rng.random((anchors, classes)).round(2).astype(np.float32)


def rows(found: Detections) -> np.ndarray:
    columns = (found.boxes_xyxy, found.scores[:, None], found.classes[:, None])
    return np.concatenate(columns, axis=1)


def plain_nms(boxes: np.ndarray, scores: np.ndarray, config: NmsConfig) -> np.ndarray:
    """The same by the book: sort all, then compare each with all kept before it."""
    classes = range(scores.shape[1])
    pairs = [
        (a, c)
        for a in range(len(boxes))
        for c in (classes if config.multi_label else [int(scores[a].argmax())])
        if scores[a, c] > config.score_threshold
        or (not config.multi_label and scores[a, c] == np.float32(config.score_threshold))
    ]
    pairs = sorted(pairs, key=lambda pair: -scores[pair])[: config.max_candidates]
    kept: list[tuple[int, int]] = []
    for a, c in pairs:
        rivals = [k for k, kc in kept if config.class_agnostic or kc == c]
        overlaps = iou_matrix(boxes[[a]], boxes[rivals])[0] if rivals else np.zeros(1)
        if not (overlaps > config.iou_threshold).any():
            kept.append((a, c))
    return np.array([[*boxes[a], scores[a, c], c] for a, c in kept[: config.max_detections]])


@pytest.mark.parametrize("size", ["256x384", "320x320"])
@pytest.mark.parametrize("name", STORED)
def test_nms_gives_the_stored_sets_of_the_original(parity: Path, size: str, name: str) -> None:
    stored = np.load(parity / f"yolo_nas_s_seed1_{size}.npz")
    expected = stored[name]
    found = rows(nms(stored["boxes"][0], stored["scores"][0], STORED[name]))
    assert found.shape == expected.shape
    assert np.all(np.diff(found[:, 4]) <= 0)
    for row in found:  # as sets: near-ties may swap
        distance = np.abs(expected - row)
        assert ((distance[:, :4].max(1) < 1e-3) & (distance[:, 4:].max(1) < 2e-5)).sum() == 1


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "config",
    [
        EVAL_NMS,
        SINGLE_LABEL,
        NmsConfig(iou_threshold=0.3, class_agnostic=True),
        NmsConfig(score_threshold=0.5, max_candidates=130, max_detections=25),
        NmsConfig(iou_threshold=0.0),
    ],
)
def test_nms_equals_a_plain_loop_with_ties_cuts_and_odd_sizes(seed: int, config: NmsConfig) -> None:
    boxes, scores = crowded(seed)
    assert np.array_equal(rows(nms(boxes, scores, config)), plain_nms(boxes, scores, config))


def test_a_score_at_the_threshold_counts_for_single_label_only() -> None:
    boxes = np.array([[0, 0, 10, 10]], np.float32)
    scores = np.array([[0.25, 0.1]], np.float32)
    assert len(nms(boxes, scores, PREDICT_NMS)) == 0
    assert len(nms(boxes, scores, SINGLE_LABEL)) == 1


def test_nothing_above_the_threshold_gives_empty_detections_of_the_right_types() -> None:
    found = nms(np.zeros((5, 4), np.float32), np.zeros((5, 3), np.float32))
    assert found.boxes_xyxy.shape == (0, 4)
    assert (found.scores.dtype, found.classes.dtype) == (np.dtype(np.float32), np.dtype(np.int64))


def test_kept_boxes_of_a_class_do_not_overlap_and_every_other_one_does() -> None:
    boxes, scores = crowded(7, classes=1)
    everything = NmsConfig(score_threshold=-1, max_candidates=10**6, max_detections=10**6)
    kept = nms(boxes, scores, everything).boxes_xyxy
    overlaps = iou_matrix(kept, kept)
    assert (overlaps[~np.eye(len(kept), dtype=bool)] <= 0.7).all()
    dropped = [box for box in boxes if not (kept == box).all(1).any()]
    assert dropped
    assert (iou_matrix(np.array(dropped), kept).max(axis=1) > 0.7).all()


def test_iou_matrix_of_hand_worked_boxes() -> None:
    a = np.array([[0, 0, 2, 2], [5, 5, 5, 5]], np.float32)
    b = np.array([[1, 1, 3, 3], [0, 0, 2, 2], [9, 9, 8, 8]], np.float32)
    assert np.allclose(iou_matrix(a, b), np.array([[1 / 7, 1, 0], [0, 0, 0]]))
    assert np.array_equal(iou_matrix(a, b), iou_matrix(b, a).T)


def test_corners_and_sides_are_inverse() -> None:
    boxes, _ = crowded(1)
    assert np.allclose(xyxy_from_xywh(xywh_from_xyxy(boxes)), boxes, atol=1e-4)
    assert np.allclose(xywh_from_xyxy(np.array([[1, 2, 4, 8]], np.float32)), [[1, 2, 3, 6]])


def test_clipped_boxes_lie_in_the_image_and_inverted_ones_have_no_area() -> None:
    wild = np.array([[-5, -5, 50, 70], [90, 10, 120, 20]], np.float32)
    assert clip_xyxy(wild, 60, 100).tolist() == [[0, 0, 50, 60], [90, 10, 100, 20]]
    assert area_xyxy(np.array([[3, 3, 1, 9]], np.float32)).tolist() == [0]


@pytest.mark.parametrize("multi_label", [True, False])
def test_thresholds_of_classes_stand_in_the_place_of_the_common_one(multi_label: bool) -> None:
    boxes = np.array([[0, 0, 9, 9], [20, 0, 29, 9], [40, 0, 49, 9]], np.float32)
    scores = np.array([[0.6, 0.3], [0.4, 0.1], [0.2, 0.35]], np.float32)
    config = NmsConfig(score_threshold=0.9, class_thresholds=(0.5, 0.32), multi_label=multi_label)
    found = nms(boxes, scores, config)
    assert list(zip(found.classes.tolist(), found.scores.round(2).tolist(), strict=True)) == [
        (0, pytest.approx(0.6)),
        (1, pytest.approx(0.35)),
    ]
