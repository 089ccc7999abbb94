"""Additive ridge regression of latency on features, in shares of each network's latency.

Errors are relative: a millisecond is much of a small network and little of a large one. Features
are scaled to what they add on average, so that one penalty suits all. Leaving one sample out needs
no second fit: its error is the residual over 1 minus its leverage (Allen, PRESS, 1974).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from detkit.profile.features import FREE
from detkit.report import LatencyFit

Floats = npt.NDArray[np.float64]
PENALTIES = (1e-4, 1e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0, 3.0, 10.0)
TINY = 1e-12  # a feature that is zero everywhere has a scale too
FREE_SHARE = 1e-3  # of the penalty, for the rates of the whole network


@dataclass(frozen=True)
class RidgeFit:
    """One ridge regression: weights of scaled features, and predictions without each sample."""

    penalty: float
    weights: Floats
    left_out: Floats  # share of the measured latency

    @property
    def mape(self) -> float:
        return float(np.abs(self.left_out - 1).mean())


def fit_latency(
    features: Sequence[Mapping[str, float]], latencies_ms: Sequence[float]
) -> LatencyFit:
    """Fits the ridge whose penalty leaves the least error; each network has features and ms."""
    names = tuple(sorted({name for found in features for name in found}))
    measured = np.array(latencies_ms)
    shares = np.array([[found.get(name, 0.0) for name in names] for found in features])
    shares = shares / measured[:, None]
    scale = np.sqrt((shares**2).mean(axis=0)) + TINY
    held = np.array([FREE_SHARE if name in FREE else 1.0 for name in names])
    best = min((ridge(shares / scale, held, p) for p in PENALTIES), key=lambda t: t.mape)
    return LatencyFit(
        features=names,
        weights_ms=tuple((best.weights / scale).tolist()),
        penalty=best.penalty,
        samples=len(measured),
        mape=best.mape,
        spearman=spearman(best.left_out * measured, measured),
    )


def ridge(shares_nf: Floats, held_f: Floats, penalty: float) -> RidgeFit:
    """Finds weights that make every row sum up to 1."""
    gram = shares_nf.T @ shares_nf + np.diag(penalty * held_f)
    weights = np.linalg.solve(gram, shares_nf.sum(axis=0))
    leverage = np.einsum("nf,fn->n", shares_nf, np.linalg.solve(gram, shares_nf.T))
    residual = 1 - shares_nf @ weights
    return RidgeFit(penalty, weights, 1 - residual / np.maximum(1 - leverage, 1e-9))


def spearman(a: Floats, b: Floats) -> float:
    """Rank correlation, equal values sharing their mean rank; 0 where all are equal."""
    ranks_a, ranks_b = _ranks(a), _ranks(b)
    if np.ptp(ranks_a) == 0 or np.ptp(ranks_b) == 0:
        return 0.0
    return float(np.corrcoef(ranks_a, ranks_b)[0, 1])


def _ranks(values: Floats) -> Floats:
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Floats = (last - (counts - 1) / 2)[group]
    return ranks
