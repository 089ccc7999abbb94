"""Descents on a landscape that can be differentiated, with a known front."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detkit.search.strategies import make_searcher
from detkit.search.strategies.discrete_space import DiscreteSpace
from detkit.search.strategies.gradient import ObjectiveGradients, descend, two_paths
from detkit.search.strategies.objectives import Objectives, make_objectives
from detkit.search.strategies.searcher import Relaxation
from detkit.search.study.file_cache import FileCache
from detkit.train.stop import Stopped

GAINS = {"a": [0.0, 3.0, 5.0, 6.0], "b": [0.0, 3.0, 5.0, 6.0], "c": [0.0, 1.0]}
COSTS = {"a": [0.0, 1.0, 2.0, 3.0], "b": [0.0, 1.0, 2.0, 3.0], "c": [0.0, 4.0]}
SPACE = DiscreteSpace({knob: range(len(values)) for knob, values in GAINS.items()})


def concave(mixture: Mapping[str, Any], step: int) -> dict[str, tuple[float, dict[str, Any]]]:
    """Gains that level off against costs that do not; `c` is never worth its cost."""
    told = {}
    for name, table in (("gain", GAINS), ("cost", COSTS)):
        slopes = {knob: np.array(values) for knob, values in table.items()}
        told[name] = (float(sum(slopes[k] @ mixture[k] for k in slopes)), slopes)
    return told


def cheap_heavy(mixture: Mapping[str, Any], step: int) -> dict[str, tuple[float, dict[str, Any]]]:
    """The same where score hardly varies: a weighted sum would always choose the cheapest."""
    told = concave(mixture, step)
    value, slopes = told["gain"]
    curved = {knob: part * 2e-3 * value for knob, part in slopes.items()}
    return {**told, "gain": (1e-3 * value**2, curved)}


def likeliest(relaxation: Relaxation, objectives: Objectives) -> Any:
    policies = descend(ObjectiveGradients(SPACE, objectives, relaxation, seed=0))
    parts = np.split(policies, np.cumsum(SPACE.counts)[:-1], axis=1)
    return np.stack([part.argmax(1) for part in parts], axis=1)


def test_trade_offs_end_at_different_points_of_the_front() -> None:
    rows = likeliest(concave, make_objectives(("gain",), ("cost",), None))
    assert len(set(map(tuple, rows.tolist()))) >= 4
    assert {(0, 0, 0)} < set(map(tuple, rows.tolist()))
    inner = [row for row in rows.tolist() if 0 < sum(row[:2]) < 6]
    assert all(row[2] == 0 for row in inner)


def test_convex_score_does_not_collapse_to_the_cheapest() -> None:
    """Score grows faster than cost, so a weighted sum has its optima at the ends only."""
    rows = likeliest(cheap_heavy, make_objectives(("gain",), ("cost",), None))
    cost = [sum(COSTS[k][i] for k, i in zip(COSTS, row, strict=True)) for row in rows.tolist()]
    assert min(cost) <= 1
    assert sum(2 <= value <= 5 for value in cost) >= 2


def test_limit_is_kept() -> None:
    goal = make_objectives(("gain",), (), {"cost": ("<=", 2.5)})
    (row,) = likeliest(concave, goal).tolist()
    assert row[2] == 0
    assert 1 <= row[0] + row[1] <= 3


def test_sample_mixes_the_two_luckiest_values_of_each_knob() -> None:
    shares = two_paths(SPACE, np.array([0.0, 3.0, 1.0, 2.0] * 2 + [0.0, 0.0]), 1.0)
    one = 1 / (1 + np.exp(-1.0))
    assert np.allclose(shares, [0, one, 0, 1 - one] * 2 + [0.5, 0.5])


def test_answers_are_asked_for_first_and_never_twice() -> None:
    knobs = {knob: tuple(values) for knob, values in SPACE.values.items()}
    searcher = make_searcher(
        "gradient", knobs=knobs, maximize=("gain",), minimize=("cost",), relaxation=concave
    )
    points = searcher.ask(8)
    assert {"a": 0, "b": 0, "c": 0} in points
    for point in points:
        searcher.tell(point, {"gain": 1.0, "cost": 1.0})
    assert not any(point in points for point in searcher.ask(8))


class Counted:
    """The landscape, where a signal comes after a number of questions."""

    def __init__(self, until: int = 10**9) -> None:
        self.asked, self.until = 0, until

    def __call__(
        self, mixture: Mapping[str, Any], step: int
    ) -> dict[str, tuple[float, dict[str, Any]]]:
        self.asked += 1
        if self.asked > self.until:
            raise Stopped
        return concave(mixture, step)


def ask(relaxation: Relaxation, **setup: Any) -> list[dict[str, Any]]:
    knobs = {knob: tuple(values) for knob, values in SPACE.values.items()}
    searcher = make_searcher(
        "gradient",
        knobs=knobs,
        maximize=("gain",),
        minimize=("cost",),
        relaxation=relaxation,
        **setup,
    )
    return searcher.ask(12)


def test_descents_go_on_after_the_last_one_that_was_finished(tmp_path: Path) -> None:
    whole, cut, rest, nothing = Counted(), Counted(until=350), Counted(), Counted()
    points = ask(whole)
    with pytest.raises(Stopped):
        ask(cut, cache=FileCache(tmp_path, lambda: "key"))
    assert len(list(tmp_path.iterdir())) == 3
    assert ask(rest, cache=FileCache(tmp_path, lambda: "key")) == points
    assert whole.asked - rest.asked == 300
    assert ask(nothing, cache=FileCache(tmp_path, lambda: "key")) == points
    assert nothing.asked == 0


def test_descents_on_something_else_are_made_anew(tmp_path: Path) -> None:
    ask(concave, cache=FileCache(tmp_path, lambda: "key"))
    other = Counted()
    ask(other, cache=FileCache(tmp_path, lambda: "other key"))
    assert other.asked == 810


def test_every_step_is_told_with_what_is_left() -> None:
    lines = []
    ask(concave, log_progress=lambda line, left: lines.append((line, left)))
    assert [left for _, left in lines] == list(range(799, -1, -1))
    assert lines[-1][0].startswith("descent 8/8, step 100/100: gain ")
