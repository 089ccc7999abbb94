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
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from detkit.search.strategies.hypervolume import hypervolume
from detkit.search.strategies.pareto import nondominated

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


class Table:
    """A problem by the figures of all its points, in arrays with an axis for every knob."""

    def __init__(
        self, knobs: Mapping[str, Sequence[Any]], accuracy: Floats, latency_ms: Floats
    ) -> None:
        self.knobs, self.accuracy, self.latency_ms = knobs, accuracy.ravel(), latency_ms.ravel()
        self.counts = [len(values) for values in knobs.values()]
        losses = np.stack([-self.accuracy, np.log(self.latency_ms)], axis=1)
        self.front = losses[nondominated(losses)]
        self.reference = np.array([-np.quantile(accuracy, BEATEN_BY), losses[:, 1].max()])
        self.volume = hypervolume(self.front, self.reference)

    def figures(self, point: Mapping[str, Any]) -> dict[str, float]:
        """Accuracy and latency of one point."""
        row = [values.index(point[name]) for name, values in self.knobs.items()]
        at = int(np.ravel_multi_index(row, self.counts))
        return {"accuracy": float(self.accuracy[at]), "latency_ms": float(self.latency_ms[at])}

    def share(self, figures: Sequence[Mapping[str, float]]) -> float:
        """The hypervolume, over accuracy and log latency, as a share of that of the exact front."""
        losses = np.array([(-f["accuracy"], math.log(f["latency_ms"])) for f in figures])
        return hypervolume(losses, self.reference) / self.volume


def landscape(seed: int, *, ruggedness: float = RUGGEDNESS) -> Table:
    """One instance: `seed` draws how much each knob matters and the tables of pairs."""
    rng = np.random.default_rng(seed)
    counts = [len(values) for values in KNOBS.values()]
    accuracy = np.full(counts, 0.30)
    gains = rng.uniform(*GAINS, len(KNOBS))
    for gain, values in zip(gains, axes(KNOBS.values()), strict=True):
        accuracy += 0.04 * gain * (1 - np.exp(-SATURATION * values / values.max()))
    add_pairs(accuracy, ruggedness, rng)
    return Table(KNOBS, accuracy, np.broadcast_to(latency_ms(), counts))


def axes(values: Iterable[Sequence[float]]) -> list[Floats]:
    """Each knob's values along an axis of their own, so that figures of all points broadcast."""
    return list(np.ix_(*[np.asarray(v, np.float64) for v in values]))


def add_pairs(total: Floats, deviation: float, rng: np.random.Generator) -> None:
    """Adds a random table for every pair of knobs: what no knob explains by itself."""
    for a, b in itertools.combinations(range(total.ndim), 2):
        counts = np.ones(total.ndim, np.int64)
        counts[[a, b]] = total.shape[a], total.shape[b]
        total += rng.normal(0, deviation, counts)


def latency_ms() -> Floats:
    """The roofline of all points, on a device of 200 GMACs/s and 20 GB/s."""
    *stages, head, size = axes(KNOBS.values())
    total = np.zeros(1)
    for i, (depth, width) in enumerate(zip(stages[:4], stages[4:], strict=True)):
        channels = np.round(CHANNELS[i] * width / 8) * 8
        total = total + _layer_ms(2 * depth, channels, (size / 2 ** (i + 2)) ** 2)
    for i, outputs in enumerate((64, 128, 256)):
        total = total + _layer_ms(np.full(1, 2.0), outputs * head, (size / 2 ** (i + 3)) ** 2)
    return total


def _layer_ms(count: Floats, channels: Floats, cells: Floats) -> Floats:
    """`count` 3x3 convolutions of as many channels in as out on `cells` positions."""
    efficiency = channels / (channels + 48) * np.where(channels % 32 == 0, 1.0, 0.8)
    compute = 9 * channels**2 * cells / (2e8 * efficiency)
    weights = 9 * channels**2 * 4 / 2e7
    activations = 2 * channels * cells * 4 / 2e7
    return count * (np.maximum(compute, weights) + activations + 0.01)
