"""Bounds from values, on distributions whose best bounds are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from detkit.quantize.histogram import (
    BINS,
    METHODS,
    PERCENTILES,
    Histogram,
    choose_bounds,
    entropy_bounds,
    max_bounds,
    mse_bounds,
    percentile_bounds,
    squared_errors,
)

RNG = np.random.default_rng(0)
TAILED = RNG.standard_t(2, 100_000)  # a few values lie very far out
SAMPLES = {
    "two-sided": RNG.normal(0.3, 1.0, 100_000),
    "one-sided": RNG.normal(0.0, 1.0, 100_000).clip(0),
    "negative": -RNG.exponential(1.0, 100_000),
    "uniform": RNG.uniform(-1.0, 3.0, 100_000),
    "tailed": TAILED,
    "few values": RNG.integers(0, 3, 1000).astype(float),
}


def histogram_of(*samples: np.ndarray) -> Histogram:
    made = Histogram()
    for sample in samples:
        made.add(float(sample.min()), float(sample.max()), sample.astype(np.float32))
    return made


# --- counting ------------------------------------------------------------------------------------


def test_reach_doubles_and_keeps_the_counts() -> None:
    first, second = np.full(10, 0.4), np.array([3.0, -0.1])
    found = histogram_of(first, second)
    assert found.reach == pytest.approx(0.4 * 8)
    assert found.counts.sum() == 12
    nearest = np.abs(found.centres - 0.4) <= 2 * found.reach / BINS
    assert found.counts[nearest].sum() == 10
    assert (found.low, found.high) == (-0.1, 3.0)


def test_values_keep_their_places_whatever_the_order_of_images() -> None:
    parts = np.split(SAMPLES["two-sided"], 4)
    for order in ((0, 1, 2, 3), (3, 1, 0, 2)):
        found = histogram_of(*(parts[i] * (1 + i) for i in order))
        wanted = np.concatenate([parts[i] * (1 + i) for i in order])
        assert found.counts.sum() == len(wanted)
        mean = (found.centres * found.counts).sum() / found.counts.sum()
        assert mean == pytest.approx(wanted.mean(), abs=2 * found.reach / BINS)


def test_bounds_are_those_of_the_whole_tensor_not_of_the_sample() -> None:
    found = Histogram()
    found.add(-3.0, 5.0, np.array([0.1, 0.2], np.float32))
    assert max_bounds(found) == (-3.0, 5.0)
    assert found.counts.sum() == 2


def test_a_tensor_of_zeros_has_no_reach() -> None:
    assert choose_bounds(histogram_of(np.zeros(10)), "auto") == ((0.0, 0.0), "max")


def test_zeros_first_and_values_later_are_all_within() -> None:
    found = histogram_of(np.zeros(10), np.array([0.5, 1.0]))
    assert (found.low, found.high, found.reach) == (0.0, 1.0, 1.0)


# --- methods -------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", SAMPLES)
def test_bounds_lie_within_what_was_seen_and_around_zero(method: str, name: str) -> None:
    found = histogram_of(SAMPLES[name])
    (low, high), used = choose_bounds(found, method)
    assert used == method
    assert found.low <= low <= 0 <= high <= found.high
    assert high > low


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("constant", [2.5, -0.7])
def test_a_constant_is_within_its_bounds(method: str, constant: float) -> None:
    found = histogram_of(np.full(1000, constant))
    (low, high), _ = choose_bounds(found, method)
    assert low - 0.01 <= constant <= high + 0.01


@pytest.mark.parametrize("method", METHODS)
def test_one_sided_values_have_zero_as_a_bound(method: str) -> None:
    assert choose_bounds(histogram_of(SAMPLES["one-sided"]), method)[0][0] == 0
    assert choose_bounds(histogram_of(SAMPLES["negative"]), method)[0][1] == 0


def test_percentile_leaves_out_its_share() -> None:
    values = SAMPLES["uniform"]
    for percent in (90.0, 99.0):
        low, high = percentile_bounds(histogram_of(values), percent)
        outside = ((values < low) | (values > high)).mean()
        assert outside == pytest.approx(1 - percent / 100, abs=0.002)
    one_sided = np.abs(values)
    low, high = percentile_bounds(histogram_of(one_sided), 99.0)
    assert low == 0
    assert (one_sided > high).mean() == pytest.approx(0.01, abs=0.002)


def test_least_error_of_uniform_values_is_at_the_largest() -> None:
    low, high = mse_bounds(histogram_of(SAMPLES["uniform"]))
    assert (low, high) == pytest.approx((-1.0, 3.0), rel=0.02)


@pytest.mark.parametrize("bounds_of", [mse_bounds, entropy_bounds])
def test_an_outlier_does_not_set_the_bounds(bounds_of: Callable[..., Any]) -> None:
    values = np.append(np.tile(SAMPLES["one-sided"], 10), 15.0)
    low, high = bounds_of(histogram_of(values))
    assert low == 0
    assert high < 10


@pytest.mark.parametrize("bounds_of", [mse_bounds, entropy_bounds])
def test_cutting_the_long_side_leaves_the_short_one(bounds_of: Callable[..., Any]) -> None:
    """Behind a SiLU many values lie near its lowest, -0.28, and few far above."""
    values = np.concatenate([np.tile(SAMPLES["one-sided"], 10), np.full(5000, -0.28), [15.0]])
    low, high = bounds_of(histogram_of(values))
    assert low == pytest.approx(-0.28)
    assert high < 10


def test_squared_error_is_that_of_rounding() -> None:
    found, bounds = histogram_of(SAMPLES["two-sided"]), (-2.0, 2.5)
    scale = 4.5 / 255
    zero = round(2.0 / scale)
    codes = np.clip(np.rint(SAMPLES["two-sided"] / scale) + zero, 0, 255)
    wanted = ((codes - zero) * scale - SAMPLES["two-sided"]) ** 2
    assert squared_errors(found, [bounds])[0] == pytest.approx(wanted.mean(), rel=0.02)


@pytest.mark.parametrize("name", SAMPLES)
def test_auto_has_no_more_error_than_any_other(name: str) -> None:
    found = histogram_of(SAMPLES[name])
    best, used = choose_bounds(found, "auto")
    others = [choose_bounds(found, method)[0] for method in METHODS]
    others += [percentile_bounds(found, percent) for percent in PERCENTILES]
    errors = squared_errors(found, [best, *others])
    assert errors[0] == errors.min()
    assert used in METHODS
