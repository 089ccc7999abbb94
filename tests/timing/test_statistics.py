from __future__ import annotations

import numpy as np
import pytest

from detkit.timing.statistics import (
    interval_of,
    latency_stats,
    mean_interval,
    median_interval,
    quartile_ratio,
    quartile_ratios_drawn,
)


def test_statistics_of_known_samples() -> None:
    stats = latency_stats(
        [[float(ms) for ms in range(1, 51)], [float(ms) for ms in range(51, 102)]]
    )
    assert (stats.min, stats.p50, stats.p90, stats.p95, stats.p99) == (1, 51, 91, 96, 100)
    assert (stats.mean, stats.mad, stats.iqr, stats.count) == (51, 25, 50, 101)


def test_equal_times_have_an_interval_of_no_width() -> None:
    stats = latency_stats([[7.0] * 5] * 4)
    assert (stats.p50_low, stats.p50, stats.p50_high) == (7, 7, 7)


def test_the_interval_is_the_same_each_time_and_holds_the_median() -> None:
    rng = np.random.default_rng(1)
    blocks = rng.normal(10, 1, (10, 30)).tolist()
    found = median_interval(blocks)
    assert found == median_interval(blocks)
    assert found.low < np.median(blocks) < found.high


def test_runs_that_share_a_block_do_not_make_the_interval_narrow() -> None:
    """As many runs, but those of the first set differ only from block to block."""
    rng = np.random.default_rng(2)
    levels = rng.normal(10, 1, (10, 1))
    shared = median_interval(np.broadcast_to(levels, (10, 100)).tolist())
    single = median_interval(rng.normal(10, 1, (1000, 1)).tolist())
    assert shared.high - shared.low > 4 * (single.high - single.low)


def test_the_interval_of_the_median_covers_it_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(100):
        blocks = rng.normal(0, 1, (20, 1)) + rng.normal(10, 1, (20, 10))
        found = median_interval(blocks.tolist())
        hits += found.low <= 10 <= found.high
    assert 85 <= hits <= 100


def test_blocks_may_be_of_unequal_length() -> None:
    found = median_interval([[1.0], [2.0, 2.0, 2.0], [3.0]])
    assert 1 <= found.low <= 2 <= found.high <= 3


def test_the_interval_of_a_mean_is_that_of_its_standard_error() -> None:
    values = np.random.default_rng(4).normal(100, 10, 400).tolist()
    found = mean_interval(values)
    assert found.high - found.low == pytest.approx(2 * 1.96 * 10 / 20, rel=0.15)
    assert found.low < np.mean(values) < found.high


def test_the_ratio_of_quartiles_does_not_see_calls_that_were_disturbed() -> None:
    quiet = np.full((20, 10), 10.0)
    disturbed = quiet * 1.05
    disturbed[::2, :5] = 80.0
    assert quartile_ratio(disturbed, quiet) == pytest.approx(1.05)
    interval = interval_of(quartile_ratios_drawn(disturbed, quiet))
    assert (interval.low, interval.high) == pytest.approx((1.05, 1.05))


def test_rounds_are_drawn_together_so_that_a_drift_of_both_is_no_warning() -> None:
    drift = np.linspace(1, 3, 40).reshape(40, 1)
    ratios = quartile_ratios_drawn(2 * drift, drift)
    assert ratios == pytest.approx(np.full(len(ratios), 2.0))
