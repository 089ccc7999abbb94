"""A small finite problem that can be enumerated."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

KNOBS: dict[str, tuple[Any, ...]] = {
    "depth": (1, 2, 3, 4),
    "width": (16, 24, 32, 48, 64),
    "wide": (False, True),
    "head": ((8, 16), (16, 32), (32, 64)),
    "kernel": (3,),
}


def figures(point: dict[str, Any]) -> dict[str, float]:
    """Accuracy that levels off, latency that does not."""
    depth, width, head = point["depth"], point["width"], point["head"][0]
    size = depth * width**2 * (1.3 if point["wide"] else 1.0)
    bonus = 0.02 * (point["wide"] and depth > 2)
    accuracy = 0.5 - 1 / (2 + depth) - 2 / width - 1 / (4 * head) + bonus
    return {"accuracy": accuracy, "latency_ms": 1.0 + size / 2000 + head / 20}


class Flat:
    """The same problem without interactions, relaxed: expectations and their slopes."""

    def __call__(self, mixture: dict[str, Any], step: int) -> dict[str, Any]:
        accuracy = {"depth": [0, 0.2, 0.25, 0.27], "width": [0, 0.1, 0.15, 0.2, 0.22]}
        latency = {"depth": [1, 2, 3, 4], "width": [1, 2, 3, 5, 8]}
        told = {}
        for name, tables in (("accuracy", accuracy), ("latency_ms", latency)):
            slopes = {k: np.array(tables.get(k, [0.0] * len(v)), float) for k, v in KNOBS.items()}
            told[name] = (sum(slopes[k] @ mixture[k] for k in KNOBS), slopes)
        return told


@pytest.fixture
def all_points() -> list[dict[str, Any]]:
    return [dict(zip(KNOBS, values, strict=True)) for values in itertools.product(*KNOBS.values())]
