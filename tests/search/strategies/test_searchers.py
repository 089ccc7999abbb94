"""What every searcher of the table keeps to, on a space small enough to know."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from detkit.core.errors import UsageError
from detkit.search.strategies import SEARCHERS, make_searcher
from detkit.search.strategies.hypervolume import hypervolume
from detkit.search.strategies.searcher import Searcher
from fixtures.small_space import KNOBS, Flat, figures

GOAL = {"maximize": ("accuracy",), "minimize": ("latency_ms",)}
SIZE = 4 * 5 * 2 * 3


def make(name: str, **options: Any) -> Searcher:
    return make_searcher(name, **{"knobs": KNOBS, "relaxation": Flat(), **GOAL, **options})


def search(searcher: Searcher, trials: int, batch: int = 8) -> Searcher:
    while len(searcher.trials) < trials and (points := searcher.ask(batch)):
        for point in points:
            searcher.tell(point, figures(point))
    return searcher


def key(point: Mapping[str, Any]) -> str:
    return repr(sorted(point.items()))


@pytest.mark.parametrize("name", SEARCHERS)
def test_whole_space_is_asked_once_and_then_nothing(
    name: str, all_points: list[dict[str, Any]]
) -> None:
    searcher = search(make(name), SIZE + 1, batch=7)
    assert sorted(map(key, (t.point for t in searcher.trials.values()))) == sorted(
        map(key, all_points)
    )
    assert searcher.ask(3) == []


@pytest.mark.parametrize("name", SEARCHERS)
def test_front_of_the_whole_space_is_the_exact_one(
    name: str, all_points: list[dict[str, Any]]
) -> None:
    told = [(-figures(p)["accuracy"], figures(p)["latency_ms"]) for p in all_points]
    exact = [a for a in told if not any(b != a and b[0] <= a[0] and b[1] <= a[1] for b in told)]
    front = search(make(name), SIZE).front()
    found = [(-t.objectives["accuracy"], t.objectives["latency_ms"]) for t in front]
    assert sorted(found) == sorted(exact)


@pytest.mark.parametrize("name", SEARCHERS)
def test_same_seed_asks_the_same_and_another_seed_does_not(name: str) -> None:
    asked = [list(search(make(name, seed=s), 60).trials) for s in (1, 1, 2)]
    assert asked[0] == asked[1]
    assert asked[0] != asked[2]


@pytest.mark.parametrize("name", SEARCHERS)
def test_telling_the_trials_again_rebuilds_the_searcher(name: str) -> None:
    first = search(make(name), 64)
    second = make(name)
    for trial in first.trials.values():
        second.tell(trial.point, trial.objectives)
    assert second.ask(8) == first.ask(8)


@pytest.mark.parametrize("name", SEARCHERS)
def test_failed_trials_are_neither_on_the_front_nor_asked_again(name: str) -> None:
    searcher = make(name)
    for number in range(8):
        for point in searcher.ask(8):
            failed = {"accuracy": math.nan, "latency_ms": math.inf}
            searcher.tell(point, failed if number % 2 == 0 else figures(point))
    assert len(searcher.trials) == 64
    assert all(math.isfinite(value) for t in searcher.front() for value in t.objectives.values())


@pytest.mark.parametrize("name", SEARCHERS)
def test_nothing_but_failures_is_survived(name: str) -> None:
    searcher = make(name)
    while points := searcher.ask(16):
        for point in points:
            searcher.tell(point, {"accuracy": math.nan, "latency_ms": math.nan})
    assert (searcher.front(), len(searcher.trials)) == ([], SIZE)


@pytest.mark.parametrize("name", SEARCHERS)
def test_points_that_are_never_told_are_asked_once_each(
    name: str, all_points: list[dict[str, Any]]
) -> None:
    searcher, asked = make(name), []
    while points := searcher.ask(16):
        asked += points
    assert sorted(map(key, asked)) == sorted(map(key, all_points))
    assert searcher.front() == []


@pytest.mark.parametrize("name", SEARCHERS)
def test_front_keeps_the_limits(name: str) -> None:
    limits = {"latency_ms": ("<=", 2.5)}
    searcher = search(make(name, constraints=limits), 80)
    assert searcher.front()
    assert all(trial.objectives["latency_ms"] <= 2.5 for trial in searcher.front())
    impossible = search(make(name, constraints={"latency_ms": ("<=", 0.1)}), SIZE)
    assert impossible.front() == []


@pytest.mark.parametrize(
    ("name", "objectives"),
    [(name, 1) for name in SEARCHERS]
    + [(name, 3) for name in SEARCHERS if name != "gradient"],  # its problem has two objectives
)
def test_one_or_three_objectives_can_be_searched(name: str, objectives: int) -> None:
    goal = {"maximize": ("accuracy",), "minimize": ("latency_ms", "params")[: objectives - 1]}
    searcher = make(name, **goal)
    for _ in range(8):
        for point in searcher.ask(8):
            told = {**figures(point), "params": point["width"] * point["depth"]}
            searcher.tell(point, {key: told[key] for key in searcher.objectives.names})
    assert searcher.front()


@pytest.mark.parametrize("name", SEARCHERS)
def test_space_of_one_point_is_asked_once(name: str) -> None:
    searcher = make_searcher(name, knobs={"a": (1,)}, minimize=("x",), relaxation=Flat())
    if name == "gradient":
        strategy: Any = searcher.strategy
        strategy.relaxation = lambda mixture, step: {"x": (0.0, {"a": np.zeros(1)})}
    assert searcher.ask(4) == [{"a": 1}]
    assert searcher.ask(4) == []


class Separable:
    """Eight knobs of four values that gain and cost by themselves; relaxed, it is as exact."""

    def __init__(self) -> None:
        self.knobs = {f"k{i}": (0, 1, 2, 3) for i in range(8)}
        rng = np.random.default_rng(0)
        self.gains = {name: np.cumsum(rng.uniform(0, 1, 4)) for name in self.knobs}
        self.costs = {name: np.cumsum(rng.uniform(0, 1, 4)) for name in self.knobs}

    def __call__(self, mixture: Mapping[str, Any], step: int) -> dict[str, tuple[float, Any]]:
        parts = {"accuracy": self.gains, "latency_ms": self.costs}
        return {
            name: (sum(float(table[k] @ mixture[k]) for k in self.knobs), table)
            for name, table in parts.items()
        }

    def figures(self, point: Mapping[str, Any]) -> dict[str, float]:
        mixture = {name: np.eye(4)[value] for name, value in point.items()}
        return {name: value for name, (value, _) in self(mixture, 0).items()}


@pytest.mark.parametrize("name", [name for name in SEARCHERS if name != "random"])
def test_learning_beats_chance(name: str) -> None:
    """Mean hypervolume of 3 seeds after 120 of 65,536 points, against random points."""
    problem = Separable()
    ends = [problem.figures(dict.fromkeys(problem.knobs, value)) for value in (0, 3)]
    reference = np.array([-ends[0]["accuracy"], ends[1]["latency_ms"]])

    def reached(which: str) -> float:
        volumes = []
        for seed in range(3):
            searcher = make(which, knobs=problem.knobs, relaxation=problem, seed=seed)
            while len(searcher.trials) < 120:
                for point in searcher.ask(8):
                    searcher.tell(point, problem.figures(point))
            told = [trial.objectives for trial in searcher.front()]
            losses = np.array([(-t["accuracy"], t["latency_ms"]) for t in told])
            volumes.append(hypervolume(losses, reference))
        return float(np.mean(volumes))

    assert reached(name) > 1.05 * reached("random")


def test_surrogate_finds_the_way_into_limits_that_no_first_point_keeps() -> None:
    problem = Separable()
    least = problem.figures(dict.fromkeys(problem.knobs, 0))["latency_ms"]
    limits = {"latency_ms": ("<=", least + 0.5)}
    searcher = make("surrogate", knobs=problem.knobs, constraints=limits)
    for _ in range(12):
        for point in searcher.ask(8):
            told = problem.figures(point)
            is_over = told["latency_ms"] > least + 0.5
            searcher.tell(point, {**told, "accuracy": math.nan} if is_over else told)
    kept = [t.objectives["latency_ms"] <= least + 0.5 for t in searcher.trials.values()]
    assert not any(kept[:32])
    assert sum(kept) > 5


def test_gradient_finds_the_corners_of_a_landscape_it_can_differentiate() -> None:
    searcher = make("gradient")
    points = searcher.ask(12)
    ends = {(point["depth"], point["width"]) for point in points}
    assert {(1, 16), (4, 64)} <= ends


def test_gradient_says_what_it_needs() -> None:
    with pytest.raises(UsageError, match="needs an evaluator that can be differentiated"):
        make("gradient", relaxation=None)


def test_start_points_are_asked_first() -> None:
    start = [{"depth": 4, "width": 64, "wide": True, "head": (8, 16), "kernel": 3}]
    searcher = make("surrogate", start=start)
    assert searcher.ask(2)[0] == start[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"knobs": {}}, "at least one knob"),
        ({"knobs": {"a": ()}}, "knob 'a' has no values"),
        ({"knobs": {"a": (1, 1)}}, "has a value twice"),
        ({"maximize": (), "minimize": ()}, "at least one objective"),
        ({"maximize": ("x",), "minimize": ("x",)}, "named twice"),
        ({"maximize": "accuracy"}, "write a list of names"),
        ({"constraints": {"x": ("<", 3.0)}}, "constraint on x"),
        ({"constraints": {"x": ("<=", math.nan)}}, "constraint on x"),
        ({"seed": -1}, "seed -1"),
        ({"start": [{"depth": 9}]}, "a point without"),
    ],
)
def test_search_that_makes_no_sense_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make("random", **options)


def test_unknown_searcher_suggests_the_near_one() -> None:
    with pytest.raises(UsageError) as caught:
        make("evolutoin")
    assert caught.value.hint == "did you mean 'evolution'?"


@pytest.mark.parametrize(
    ("change", "told", "message"),
    [
        ({"depth": 9}, {}, "knob 'depth' cannot be 9"),
        ({"depth": {}}, {}, "knob 'depth' cannot be"),
        ({"deep": 1}, {}, "no knob 'deep'"),
        ({}, {"accuracy": 0.1}, "told without latency_ms"),
        ({}, {"accuracy": 0.1, "latency_ms": 1.0, "ap": 0.3}, "no objective 'ap'"),
    ],
)
def test_telling_nonsense_is_refused(
    change: dict[str, Any], told: dict[str, float], message: str
) -> None:
    searcher = make("random")
    point = {**searcher.ask(1)[0], **change}
    with pytest.raises(UsageError, match=message):
        searcher.tell(point, told or figures(searcher.ask(1)[0]))


def test_telling_twice_is_refused() -> None:
    searcher = make("random")
    point = searcher.ask(1)[0]
    searcher.tell(point, figures(point))
    with pytest.raises(UsageError, match="told twice"):
        searcher.tell(point, figures(point))


def test_point_with_json_lists_is_the_same_point() -> None:
    searcher = make("random")
    point = searcher.ask(1)[0]
    searcher.tell({**point, "head": list(point["head"])}, figures(point))
    assert [trial.point for trial in searcher.trials.values()] == [point]


def test_asking_for_nothing_is_refused() -> None:
    with pytest.raises(UsageError, match="asked for 0 points"):
        make("random").ask(0)
