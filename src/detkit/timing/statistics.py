"""What times say: percentiles, spread, and 95 % intervals that respect blocks.

Runs inside a block share the state of the machine, so they are not independent; blocks nearly are.
Every interval is a percentile bootstrap over whole blocks (Davison and Hinkley 1997, section 3.8),
drawn by a seeded generator, so that the same times give the same interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from detkit.report import LatencyStats

SEED = 0
DRAWS = 1000
# Relative standard deviation of one session's times to another's of the same file: where its memory
# lies. Nine pairs, one thread: 0.6 %, where the blocks of a pair promised 0.25 %.
BETWEEN_SESSIONS = 0.005
LOWER_QUARTILE = 25
LOW, HIGH = 2.5, 97.5  # percentiles that bound a 95 % interval
Floats = npt.NDArray[np.float64]
Blocks = Sequence[Sequence[float]] | Floats


@dataclass(frozen=True)
class Interval:
    low: float
    high: float


def latency_stats(blocks_ms: Blocks) -> LatencyStats:
    """Computes percentiles (by linear interpolation) of all runs, and the interval of p50."""
    samples = np.concatenate([np.asarray(block, np.float64) for block in blocks_ms])
    p25, p50, p75, p90, p95, p99 = np.percentile(samples, [25, 50, 75, 90, 95, 99]).tolist()
    interval = median_interval(blocks_ms)
    return LatencyStats(
        p50=p50,
        p50_low=interval.low,
        p50_high=interval.high,
        p90=p90,
        p95=p95,
        p99=p99,
        mean=float(samples.mean()),
        min=float(samples.min()),
        mad=float(np.median(np.abs(samples - p50))),
        iqr=p75 - p25,
        count=len(samples),
    )


def median_interval(blocks: Blocks) -> Interval:
    """Bootstraps the median of all values; whole blocks are drawn with replacement.

    The median of a draw is that of the values weighted by how often their block was drawn.
    """
    values = np.concatenate([np.asarray(block, np.float64) for block in blocks])
    owner = np.repeat(np.arange(len(blocks)), [len(block) for block in blocks])
    order = np.argsort(values, kind="stable")
    values, owner = values[order], owner[order]
    medians = [_weighted_median(values, times[owner]) for times in _times_drawn(len(blocks))]
    return interval_of(np.array(medians))


def _weighted_median(values: Floats, weights: Floats) -> float:
    """Median of sorted values; the mean of two where the middle falls between them."""
    reached = np.cumsum(weights)
    middle = reached[-1] / 2
    lower = np.searchsorted(reached, middle, side="left")
    upper = np.searchsorted(reached, middle, side="right")
    return float(values[lower] + values[upper]) / 2


def mean_interval(values: Sequence[float]) -> Interval:
    """Bootstraps the mean of values that stand for a block each."""
    drawn = _times_drawn(len(values)) @ np.asarray(values, np.float64) / len(values)
    return interval_of(drawn)


def _times_drawn(count: int) -> Floats:
    """Draws with replacement: (DRAWS, count), how often each block is in each draw."""
    rng = np.random.default_rng(SEED)
    drawn: Floats = rng.multinomial(count, np.full(count, 1 / count), DRAWS).astype(np.float64)
    return drawn


def quartile_ratio(rounds: Blocks, others: Blocks) -> float:
    """Lower quartile of all values over that of all the other values."""
    mine, theirs = (np.percentile(np.asarray(both), LOWER_QUARTILE) for both in (rounds, others))
    return float(mine / theirs)


def quartile_ratios_drawn(rounds: Blocks, others: Blocks, *, seed: int = SEED) -> Floats:
    """Bootstraps `quartile_ratio`, (DRAWS,): the same rounds are drawn on both sides.

    Args:
        rounds: (R, N) values of N runs in each of R rounds; `others` as well.
    """
    mine, theirs = np.asarray(rounds, np.float64), np.asarray(others, np.float64)
    drawn = np.random.default_rng(seed).integers(0, len(mine), (DRAWS, len(mine)))
    return np.array([quartile_ratio(mine[chosen], theirs[chosen]) for chosen in drawn])


def over_sessions(ratios: Floats) -> Floats:
    """Widens drawn ratios by the noise between sessions of the same files."""
    noise: Floats = np.random.default_rng(SEED).normal(0, BETWEEN_SESSIONS, len(ratios))
    return ratios * np.exp(noise)


def interval_of(drawn: Floats) -> Interval:
    """The interval that holds the middle 95 % of what was drawn."""
    low, high = np.percentile(drawn, [LOW, HIGH]).tolist()
    return Interval(low, high)
