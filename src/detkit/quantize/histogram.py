"""What a tensor's values look like, in one pass, and the bounds that round them best.

Bounds of 8 bits are chosen from a histogram: the largest values (`max`), a percentile, the least
squared error (`mse`), or the least divergence from the unrounded distribution (`entropy`, Migacz,
GTC 2017). `auto` takes those of all that have the least squared error.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bounds = tuple[float, float]

BINS = 4096
LEVELS = 255
PERCENTILE = 99.99
PERCENTILES = (99.9, 99.99, 99.999)
MSE_STEPS = 100
SMALLEST_SHARE = 0.2  # of the largest value, that a search goes down to


class Histogram:
    """Counts of values between -`reach` and `reach`, which doubles when a value lies beyond.

    `low` and `high` are NaN for good once a value was not finite.
    """

    def __init__(self) -> None:
        self.low = self.high = 0.0
        self.reach = 0.0
        self.counts: Floats = np.zeros(BINS)

    def add(self, low: float, high: float, sample: npt.NDArray[np.float32]) -> None:
        """Counts `sample` of a tensor whose true bounds are `low` and `high`."""
        if not np.isfinite([low, high]).all():
            self.low = self.high = np.nan
            return
        self.low, self.high = min(self.low, low), max(self.high, high)
        largest = max(high, -low)
        if self.reach == 0:
            self.reach = largest
        while largest > self.reach:
            self._double()
        if self.reach > 0:
            edges = (-self.reach, self.reach)
            self.counts += np.histogram(sample, bins=BINS, range=edges)[0]

    def _double(self) -> None:
        """Merges pairs of bins around the middle; the outer quarters become free."""
        merged = self.counts.reshape(-1, 2).sum(axis=1)
        self.counts = np.pad(merged, BINS // 4)
        self.reach *= 2

    @property
    def centres(self) -> Floats:
        width = 2 * self.reach / BINS
        middles: Floats = (np.arange(BINS, dtype=np.float64) + 0.5) * width - self.reach
        return middles


def choose_bounds(histogram: Histogram, calibrator: str) -> tuple[Bounds, str]:
    """The bounds by `calibrator`, and the name of the method they are from."""
    if histogram.low == histogram.high:
        return (0.0, 0.0), "max"
    if calibrator != "auto":
        return METHODS[calibrator](histogram), calibrator
    candidates = {name: method(histogram) for name, method in METHODS.items()}
    for percent in PERCENTILES:
        candidates[f"percentile {percent}"] = percentile_bounds(histogram, percent)
    errors = squared_errors(histogram, list(candidates.values()))
    best = list(candidates)[int(np.argmin(errors))]
    return candidates[best], best.split(" ")[0]


def max_bounds(histogram: Histogram) -> Bounds:
    return histogram.low, histogram.high


def percentile_bounds(histogram: Histogram, percent: float = PERCENTILE) -> Bounds:
    """Bounds without the outermost values, which are 100 - `percent` of all on both sides."""
    share = np.cumsum(histogram.counts) / histogram.counts.sum()
    outside = (1 - percent / 100) / (2 if histogram.low < 0 < histogram.high else 1)
    low = histogram.centres[int(np.searchsorted(share, outside))]
    high = histogram.centres[min(int(np.searchsorted(share, 1 - outside)), BINS - 1)]
    return (
        max(float(low), histogram.low) if histogram.low < 0 else 0.0,
        min(float(high), histogram.high) if histogram.high > 0 else 0.0,
    )


def mse_bounds(histogram: Histogram) -> Bounds:
    candidates = _shrunk(histogram)
    return candidates[int(np.argmin(squared_errors(histogram, candidates)))]


def entropy_bounds(histogram: Histogram) -> Bounds:
    candidates = _shrunk(histogram)
    return candidates[int(np.argmin([_divergence(histogram, b) for b in candidates]))]


def _shrunk(histogram: Histogram) -> list[Bounds]:
    """Bounds that cut the longer side, and the shorter one only where it would be the longer.

    Half the values behind a SiLU lie near its lowest, -0.28: shrinking both sides by the same share
    would cut these.
    """
    longest = max(-histogram.low, histogram.high)
    reaches = np.linspace(SMALLEST_SHARE, 1, MSE_STEPS) * longest
    return [(max(histogram.low, -reach), min(histogram.high, reach)) for reach in reaches]


def squared_errors(histogram: Histogram, candidates: Sequence[Bounds]) -> Floats:
    """Mean squared error of rounding to each of the bounds, (len(candidates),)."""
    values, weights = histogram.centres, histogram.counts / histogram.counts.sum()
    low, high = np.array(candidates).T[:, :, None]
    scale = np.maximum((high - low) / LEVELS, 1e-12)
    zero = np.rint(-low / scale)
    codes = np.clip(np.rint(values / scale) + zero, 0, LEVELS)
    errors: Floats = ((values - (codes - zero) * scale) ** 2 * weights).sum(axis=1)
    return errors


def _divergence(histogram: Histogram, bounds: Bounds) -> float:
    """KL divergence of the clipped distribution from the same one on 256 levels."""
    values, counts = histogram.centres, histogram.counts
    low, high = bounds
    inside = (values >= low) & (values <= high)
    clipped = counts[inside].copy()
    if len(clipped) == 0 or clipped.sum() == 0:
        return float("inf")
    outliers = counts[values > high].sum(), counts[values < low].sum()
    level = np.rint((values[inside] - low) / max((high - low) / LEVELS, 1e-12)).astype(np.int64)
    held = clipped > 0
    totals = np.bincount(level, weights=clipped, minlength=LEVELS + 1)
    sizes = np.bincount(level, weights=held, minlength=LEVELS + 1)
    coarse = np.where(held, (totals / np.maximum(sizes, 1))[level], 0)
    clipped[-1] += outliers[0]
    clipped[0] += outliers[1]
    p, q = clipped / clipped.sum(), coarse / coarse.sum()
    kept = p > 0
    return float((p[kept] * np.log(p[kept] / np.maximum(q[kept], 1e-12))).sum())


METHODS: dict[str, Callable[[Histogram], Bounds]] = {
    "max": max_bounds,
    "percentile": percentile_bounds,
    "mse": mse_bounds,
    "entropy": entropy_bounds,
}
