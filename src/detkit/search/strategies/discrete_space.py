"""A finite space as whole numbers: which values, how points are drawn, changed, mixed and encoded.

Legend: N points, K knobs, E all values of all knobs. `rows_nk` are indices into the values.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from detkit.core.errors import UsageError, did_you_mean

Point = dict[str, Any]  # knob -> value
Row = tuple[int, ...]
Rows = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
SINGLE_STEPS = 0.7  # share of mutations that go to a neighbouring value


class DiscreteSpace:
    """The points that `knobs` span; the values of each are in their natural order, if any.

    Raises:
        UsageError: no knobs, a knob without values or with one twice.
    """

    def __init__(self, knobs: Mapping[str, Sequence[Any]]) -> None:
        if not knobs:
            raise UsageError("a search needs at least one knob")
        self.values = {name: tuple(map(_hashable, values)) for name, values in knobs.items()}
        self.indices = {n: {v: i for i, v in enumerate(vs)} for n, vs in self.values.items()}
        for name, values in self.values.items():
            if not values:
                raise UsageError(f"knob '{name}' has no values")
            if len(self.indices[name]) < len(values):
                raise UsageError(f"knob '{name}' has a value twice")
        self.counts = np.array([len(values) for values in self.values.values()], np.int64)
        self.size = math.prod(self.counts.tolist())

    def to_row(self, point: Mapping[str, Any]) -> Row:
        """Returns the indices of a point.

        Raises:
            UsageError: not a point of this space.
        """
        for name in point:
            if name not in self.indices:
                raise UsageError(f"no knob '{name}'", hint=did_you_mean(name, self.indices))
        missing = [name for name in self.indices if name not in point]
        if missing:
            raise UsageError(f"a point without {', '.join(missing)}")
        row = []
        for name, indices in self.indices.items():
            try:
                row.append(indices[_hashable(point[name])])
            except (KeyError, TypeError) as error:
                raise UsageError(f"knob '{name}' cannot be {point[name]!r}") from error
        return tuple(row)

    def to_point(self, row: Sequence[int] | Rows) -> Point:
        return {name: vs[int(i)] for (name, vs), i in zip(self.values.items(), row, strict=True)}

    def rows_from(self, start: int) -> Iterator[Row]:
        """Yields every point once, counting on from number `start`."""
        radices = self.counts.tolist()
        for number in range(self.size):
            rest, row = (start + number) % self.size, []
            for radix in reversed(radices):
                rest, index = divmod(rest, radix)
                row.append(index)
            yield tuple(reversed(row))

    def sample(self, count: int, rng: np.random.Generator) -> Rows:
        """Draws rows (N, K), each value of a knob equally likely."""
        return rng.integers(0, self.counts, (count, len(self.counts)))

    def latin(self, count: int, rng: np.random.Generator) -> Rows:
        """Draws a Latin hypercube (N, K): every value of a knob occurs about equally often."""
        strata = np.argsort(rng.random((len(self.counts), count)), axis=1).T
        indices = (strata + rng.random(strata.shape)) / count
        design: Rows = (indices * self.counts).astype(np.int64)
        return design

    def initial_design(self, size: int, count: int, seed: int, rng: np.random.Generator) -> Rows:
        """Rows (N, K): the same Latin hypercube of `size` at every call, then `count` random ones.

        What has been asked of it is passed over by the searcher, so calls go through it in turn.
        """
        design = self.latin(size, np.random.default_rng(seed))
        return np.concatenate([design, self.sample(count, rng)])

    def mutate(self, rows_nk: Rows, rng: np.random.Generator) -> Rows:
        """Changes one knob of every point, wherever one has a choice.

        The change is one step along the values in 70 % of cases, else to any other value.
        """
        free = np.flatnonzero(self.counts > 1)
        if not len(free):
            return rows_nk
        every = np.arange(len(rows_nk))
        knob = rng.choice(free, len(rows_nk))
        old, counts = rows_nk[every, knob], self.counts[knob]
        sign = np.where(rng.random(len(old)) < 0.5, -1, 1)
        sign = np.where(old == 0, 1, np.where(old == counts - 1, -1, sign))
        other = (old + rng.integers(1, counts)) % counts
        mutated: Rows = rows_nk.copy()
        mutated[every, knob] = np.where(rng.random(len(old)) < SINGLE_STEPS, old + sign, other)
        return mutated

    def cross(self, a_nk: Rows, b_nk: Rows, rng: np.random.Generator) -> Rows:
        """Crosses uniformly: every knob from either parent."""
        return np.where(rng.random(a_nk.shape) < 0.5, a_nk, b_nk)

    def one_hot(self, rows_nk: Rows) -> Floats:
        """Encodes rows as (N, E) with a one at the value of each knob."""
        offsets = np.concatenate([[0], np.cumsum(self.counts)[:-1]])
        encoded = np.zeros((len(rows_nk), int(self.counts.sum())))
        encoded[np.arange(len(rows_nk))[:, None], rows_nk + offsets] = 1.0
        return encoded


def _hashable(value: Any) -> Any:
    """Makes tuples of lists, as JSON has them."""
    return tuple(map(_hashable, value)) if isinstance(value, list) else value
