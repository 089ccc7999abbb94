from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from detkit.advise.metrics import ap_by_folds, drop_of, make_variants, ratios
from detkit.core.boxes import Detections
from detkit.timing.measure import Timing, Warmup


def timing(*block_ms: float) -> Timing:
    return Timing(Warmup(5, 0.001, True), tuple((ms, ms, ms) for ms in block_ms))


def test_drop_is_in_points_and_equal_drops_have_no_noise() -> None:
    drop, noise = drop_of([0.5, 0.52, 0.48], [0.49, 0.51, 0.47])
    assert drop == pytest.approx(1.0)
    assert noise == pytest.approx(0.0, abs=1e-9)


def test_noise_is_the_jackknife_of_the_paired_drops() -> None:
    drop, noise = drop_of([0.5, 0.5, 0.5], [0.5, 0.49, 0.51])
    assert drop == 0
    assert noise is not None
    assert noise == pytest.approx(math.sqrt(1 / 2 * (1 + 1)))  # parts of +1 and -1 points


def test_one_image_says_nothing_of_the_noise() -> None:
    drop, noise = drop_of([0.5], [0.4])
    assert drop == pytest.approx(10.0)
    assert noise is None


def test_ratio_is_the_median_of_neighbouring_blocks() -> None:
    reference = timing(*[10.0] * 10)
    ratio, low, high = ratios(timing(4, 4, 4, 5, 5, 5, 5, 6, 6, 9), reference)
    assert (ratio, low, high) == (0.5, 0.4, 0.6)


def test_slow_moment_that_hits_both_leaves_the_ratio() -> None:
    ratio, low, high = ratios(timing(5, 50, 5), timing(10, 100, 10))
    assert (ratio, low, high) == (0.5, 0.5, 0.5)


def test_forms_are_held_against_the_fastest_float() -> None:
    names = [("torch", "fp32"), ("onnxruntime", "fp32"), ("onnxruntime", "int8")]
    timings = [timing(20, 20, 20), timing(10, 10, 10), timing(5, 5, 5)]
    aps = [(0.5, 0.5), (0.5, 0.5), (0.49, 0.49)]
    variants = make_variants(names, timings, aps, [1, 2, 3])
    assert [variant.ratio for variant in variants] == [2.0, 1.0, 0.5]
    assert [round(variant.drop, 6) for variant in variants] == [0, 0, 1.0]
    assert [variant.bytes for variant in variants] == [1, 2, 3]


def test_a_part_with_all_the_boxes_is_not_left_out(make_record: Callable[..., Any]) -> None:
    records = [make_record([[0, 0, 50, 50]], [0]), make_record([], []), make_record([], [])]
    found = [boxes_of(record) for record in records]
    assert ap_by_folds(records, ["a"], found) == pytest.approx((1.0, 1.0, 1.0), abs=1e-6)


def boxes_of(record: Any) -> Detections:
    scores = np.ones(len(record.classes), np.float32)
    return Detections(record.boxes_xyxy, scores, record.classes)
