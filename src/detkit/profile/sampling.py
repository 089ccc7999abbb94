"""Which networks of a space stand for all of it: from the smallest to the largest, evenly in MACs.

Knobs drawn one by one make networks of middling size almost always, so each candidate first gets a
size, and its knobs keep near that.
"""

from __future__ import annotations

import math

import numpy as np

from detkit.core.errors import UsageError
from detkit.nn.detector import cost_of
from detkit.spec.arch import ArchSpec
from detkit.spec.space import SearchSpace

CANDIDATES_PER_SAMPLE = 3
SCATTER = 0.3  # of a knob around the size of its network, both 0..1
LEAST_SAMPLES = 8


def choose_networks(space: SearchSpace, count: int, seed: int) -> list[ArchSpec]:
    """Chooses `count` different networks, both ends included, in the order to measure them.

    The order is random, so that what was measured before an interruption covers the space too.

    Raises:
        UsageError: fewer than `LEAST_SAMPLES`, or more than the space has.
    """
    if not LEAST_SAMPLES <= count <= space.size:
        raise UsageError(
            f"{count} samples: space {space.name} allows {LEAST_SAMPLES} to {space.size}"
        )
    rng = np.random.default_rng(seed)
    ends = [space.to_arch(space.smallest_point()), space.to_arch(space.largest_point())]
    known = {spec.digest: spec for spec in ends}
    wanted = min(count * CANDIDATES_PER_SAMPLE, space.size)
    tries = 0
    while len(known) < wanted and (tries < 20 * wanted or len(known) < count):
        spec = draw(space, (tries % wanted + rng.random()) / wanted, rng)
        known.setdefault(spec.digest, spec)
        tries += 1
    chosen = [*ends, *_spread([*known.values()][len(ends) :], ends, count - len(ends))]
    return [chosen[index] for index in rng.permutation(len(chosen))]


def draw(space: SearchSpace, size: float, rng: np.random.Generator) -> ArchSpec:
    """Draws a network whose knobs lie around `size`: 0 is the first value of each, 1 the last."""
    point = {}
    for path, values in space.knobs.items():
        position = min(max(size + rng.normal(0.0, SCATTER), 0.0), 1.0)
        point[path] = values[round(position * (len(values) - 1))]
    return space.to_arch(point)


def _spread(specs: list[ArchSpec], ends: list[ArchSpec], count: int) -> list[ArchSpec]:
    """Picks the nearest to each of `count` sizes, evenly spaced between the ends in log MACs."""
    low, high = (math.log(cost_of(spec).macs) for spec in ends)
    left = [(math.log(cost_of(spec).macs), spec) for spec in specs]
    picked = []
    for wanted in np.linspace(low, high, count + 2)[1:-1]:
        nearest = min(range(len(left)), key=lambda i: abs(left[i][0] - float(wanted)))
        picked.append(left.pop(nearest)[1])
    return picked
