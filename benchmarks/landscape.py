"""A synthetic search problem whose every point and whose exact front are known.

1.92 million detectors: depth and width of four stages, head width, resolution. Latency is what a
roofline says: multiply-adds at an efficiency that falls with narrow and crooked widths, or reading
the weights where that takes longer, plus moving activations and starting kernels. Accuracy is
saturating gains of every knob, and a random table for every pair of knobs, which no knob by itself
explains.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from detkit.search.hypervolume import hypervolume
from detkit.search.pareto import nondominated

Floats = npt.NDArray[np.float64]

DEPTHS = (1, 2, 3, 4)
WIDTHS = (0.25, 0.5, 0.67, 0.75, 1.0)
CHANNELS = (96, 128, 256, 512)
HEADS = (0.5, 0.75, 1.0)
SIZES = (256, 320, 448, 640)
KNOBS: dict[str, tuple[float, ...]] = {
    **{f"depth{i}": DEPTHS for i in range(4)},
    **{f"width{i}": WIDTHS for i in range(4)},
    "head": HEADS,
    "size": SIZES,
}
GAINS = (0.5, 1.5)  # range of how much a knob matters, times 0.04 AP
SATURATION = 2.5
RUGGEDNESS = 0.006  # standard deviation of an entry of a pair's table, in AP
BEATEN_BY = 0.02  # the reference accuracy is the one that this share of all points does not reach


class Landscape:
    """One instance: `seed` draws how much each knob matters and the tables of pairs."""

    def __init__(self, seed: int, *, ruggedness: float = RUGGEDNESS) -> None:
        rng = np.random.default_rng(seed)
        self.names = list(KNOBS)
        self.counts = [len(values) for values in KNOBS.values()]
        self.gains = rng.uniform(*GAINS, len(KNOBS))
        self.tables = {
            pair: rng.normal(0, ruggedness, (self.counts[pair[0]], self.counts[pair[1]]))
            for pair in itertools.combinations(range(len(KNOBS)), 2)
        }
        rows = np.indices(self.counts).reshape(len(KNOBS), -1)
        self.accuracy, self.latency_ms = self._accuracy(rows), latency_ms(rows)
        losses = np.stack([-self.accuracy, np.log(self.latency_ms)], axis=1)
        self.front = losses[nondominated(losses)]
        slowest = math.log(self.latency_ms.max())
        self.reference = np.array([-np.quantile(self.accuracy, BEATEN_BY), slowest])
        self.volume = hypervolume(self.front, self.reference)

    def figures(self, point: Mapping[str, Any]) -> dict[str, float]:
        """Accuracy and latency of one point."""
        row = [KNOBS[name].index(point[name]) for name in self.names]
        at = int(np.ravel_multi_index(row, self.counts))
        return {"accuracy": float(self.accuracy[at]), "latency_ms": float(self.latency_ms[at])}

    def share(self, figures: list[dict[str, float]]) -> float:
        """The hypervolume, over accuracy and log latency, as a share of that of the exact front."""
        losses = np.array([(-f["accuracy"], math.log(f["latency_ms"])) for f in figures])
        return hypervolume(losses, self.reference) / self.volume

    def _accuracy(self, rows: npt.NDArray[np.int64]) -> Floats:
        """AP of all points: saturating gains, then the tables."""
        total = np.full(rows.shape[1], 0.30)
        for knob, values in enumerate(KNOBS.values()):
            share = np.array(values) / max(values)
            gain = 0.04 * self.gains[knob] * (1 - np.exp(-SATURATION * share))
            total += gain[rows[knob]]
        for (a, b), table in self.tables.items():
            total += table[rows[a], rows[b]]
        return total


def latency_ms(rows: npt.NDArray[np.int64]) -> Floats:
    """The roofline of all points, on a device of 200 GMACs/s and 20 GB/s."""
    values = [np.array(v)[row] for v, row in zip(KNOBS.values(), rows, strict=True)]
    depths, widths, head, size = values[:4], values[4:8], values[8], values[9]
    total = np.zeros(rows.shape[1])
    for i, (depth, width) in enumerate(zip(depths, widths, strict=True)):
        channels = np.round(CHANNELS[i] * width / 8) * 8
        total += _layer_ms(2 * depth, channels, (size / 2 ** (i + 2)) ** 2)
    for i, channels in enumerate((64, 128, 256)):
        total += _layer_ms(np.full_like(size, 2.0), channels * head, (size / 2 ** (i + 3)) ** 2)
    return total


def _layer_ms(count: Floats, channels: Floats, cells: Floats) -> Floats:
    """`count` 3x3 convolutions of as many channels in as out on `cells` positions."""
    efficiency = channels / (channels + 48) * np.where(channels % 32 == 0, 1.0, 0.8)
    compute = 9 * channels**2 * cells / (2e8 * efficiency)
    weights = 9 * channels**2 * 4 / 2e7
    activations = 2 * channels * cells * 4 / 2e7
    return count * (np.maximum(compute, weights) + activations + 0.01)
