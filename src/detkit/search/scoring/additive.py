"""A cost that is additive in the knobs, so that the cost of a mixture can be differentiated.

The logarithm of the cost is a constant and one term for each value of each knob, fitted by ridge
regression to networks that were measured: image size and width multiply, so logarithms add.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from detkit.artifact.sealed_json import read_sealed, write_sealed
from detkit.search.scoring.study_folder import claim_in_study
from detkit.search.strategies.discrete_space import DiscreteSpace, Floats, Rows
from detkit.search.strategies.searcher import ProgressLog, log_nothing

PENALTY = 0.03


@dataclass(frozen=True, kw_only=True)
class CostTable:
    """Fitted terms of the logarithm; `terms` has the values of all knobs one after the other."""

    space: DiscreteSpace
    constant: float
    terms_e: Floats

    def expected(self, mixture: Mapping[str, Floats]) -> tuple[float, dict[str, Floats]]:
        """The cost of a mixture, and its slopes by the shares."""
        parts = np.split(self.terms_e, np.cumsum(self.space.counts)[:-1])
        terms = dict(zip(self.space.values, parts, strict=True))
        log = self.constant + sum(float(terms[knob] @ mixture[knob]) for knob in terms)
        cost = float(np.exp(log))
        return cost, {knob: cost * part for knob, part in terms.items()}


def fit_table(space: DiscreteSpace, rows_nk: Rows, costs_n: Floats) -> CostTable:
    inputs, logs = space.one_hot(rows_nk), np.log(costs_n)
    constant = float(logs.mean())
    centre = inputs.mean(axis=0)
    centred = inputs - centre
    normal = centred.T @ centred + PENALTY * np.eye(inputs.shape[1])
    terms: Floats = np.linalg.solve(normal, centred.T @ (logs - constant))
    return CostTable(space=space, constant=constant - float(centre @ terms), terms_e=terms)


def design(space: DiscreteSpace, count: int, seed: int) -> Rows:
    """The networks to measure (N, K): both ends, and a Latin hypercube between them."""
    ends = np.stack([np.zeros_like(space.counts), space.counts - 1])
    rows = np.concatenate([ends, space.latin(count - 2, np.random.default_rng(seed))])
    return np.unique(rows, axis=0)


def measured(
    path: Path,
    rows: Rows,
    measure: Callable[[Sequence[int]], Mapping[str, float]],
    log_progress: ProgressLog = log_nothing,
) -> dict[str, Floats]:
    """Measures each row and keeps its figures in `path` as they come; none is measured twice."""
    known: dict[str, dict[str, float]] = {}
    if path.is_file():
        known = read_sealed(path)
    keys = [",".join(map(str, row)) for row in rows.tolist()]
    for number, (key, row) in enumerate(zip(keys, rows.tolist(), strict=True), start=1):
        if key not in known:
            known[key] = dict(measure(row))
            claim_in_study(path.parent.parent, f"{path.parent.name}/{path.name}")
            write_sealed(path, known)
            log_progress(f"costs: network {number}/{len(keys)}", left=len(keys) - number)
    names = known[keys[0]]
    return {name: np.array([known[key][name] for key in keys]) for name in names}
