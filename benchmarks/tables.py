"""Search problems the size of public tables of trained networks, drawn instead of trained.

`stages` has 8 blocks of 3 ordered choices, `cell` 6 edges of 5 operations without any order,
`mixed` both kinds of knobs. Accuracy levels off, has effects of pairs of knobs, and carries the
noise of a training that is not repeated. Latencies are sums, products, or products with sums in
them, measured to a few percent.
"""

from __future__ import annotations

import numpy as np
from landscape import Floats, Table, add_pairs, axes

TRAINING_NOISE = 0.004  # of AP, one standard deviation
TIMING_NOISE = 0.03  # of the latency
RUGGEDNESS = 0.005  # standard deviation of an entry of a pair's table, in AP
COUNTS = {"stages": (3,) * 8, "cell": (5,) * 6, "mixed": (2, 5, 3, 4, 6, 3, 5)}
ORDERED = {"stages": 1.0, "cell": 0.0, "mixed": 0.6}  # share of knobs whose values have an order
PATHS = ((3,), (0, 4), (1, 5), (0, 2, 5))  # edges 01 02 12 03 13 23 from a cell's input to output


def table(kind: str, seed: int) -> Table:
    """One instance; `seed` draws its effects and its noise."""
    rng = np.random.default_rng([seed, list(COUNTS).index(kind)])
    counts = COUNTS[kind]
    sizes = axes([_sizes(n, bool(rng.random() < ORDERED[kind]), rng).tolist() for n in counts])
    accuracy = _cell(sizes, rng) if kind == "cell" else _blocks(sizes, rng)
    add_pairs(accuracy, RUGGEDNESS, rng)
    accuracy += rng.normal(0, TRAINING_NOISE, counts)
    latency = _latency_ms(sizes, rng) * np.exp(rng.normal(0, TIMING_NOISE, counts))
    knobs = {f"knob{i}": tuple(range(count)) for i, count in enumerate(counts)}
    return Table(knobs, accuracy, latency)


def _sizes(count: int, ordered: bool, rng: np.random.Generator) -> Floats:
    """How large each value of a knob is, from 0 to 1: along the values, or in any order."""
    sizes = np.sort(rng.uniform(0, 1, count))
    sizes = (sizes - sizes[0]) / (sizes[-1] - sizes[0])
    return sizes if ordered else rng.permutation(sizes)


def _blocks(sizes: list[Floats], rng: np.random.Generator) -> Floats:
    """AP that levels off with the size of each knob."""
    return sum(
        (rng.uniform(0.01, 0.07) * (1 - np.exp(-2.5 * size)) for size in sizes), np.full(1, 0.3)
    )


def _cell(sizes: list[Floats], rng: np.random.Generator) -> Floats:
    """AP that levels off with the strength of all ways through a cell; size 0 cuts an edge.

    Where every way is cut, nothing is learnt.
    """
    edges = [weight * size for weight, size in zip(rng.uniform(0.5, 1.5, 6), sizes, strict=True)]
    strength = np.zeros(1)
    for path in PATHS:
        length = sum((edges[edge] for edge in path), np.full(1, 0.2))
        whole = np.prod(np.broadcast_arrays(*[sizes[edge] > 0 for edge in path]), axis=0)
        strength = strength + whole * length
    return np.where(strength > 0, 0.3 + 0.15 * (1 - np.exp(-strength / 2)), 0.1)


def _latency_ms(sizes: list[Floats], rng: np.random.Generator) -> Floats:
    """A sum over knobs, of which a random half slow down all the rest instead."""
    added, factor = np.full(1, 1.0), np.full(1, 1.0)
    for size in sizes:
        cost = rng.uniform(0.2, 1.5) * size
        if rng.random() < 0.5:
            added = added + cost
        else:
            factor = factor * (1 + 0.5 * cost)
    latency: Floats = added * factor
    return latency
