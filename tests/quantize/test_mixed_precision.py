"""The search from all INT8 to a bound on the drop, with AP and time made up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from detkit.config import QuantizeConfig
from detkit.core.errors import GateError, UsageError
from detkit.quantize.mixed_precision import PrecisionPath, search_mixed_precision, too_noisy
from detkit.quantize.request import QuantizeRequest
from detkit.quantize.run import _pick
from detkit.timing.side_by_side import Ratio, SideBySide

AP_FLOAT = 0.5
# Group -> what it costs while it is INT8: points of AP, and ms it saves.
GROUPS = {"a": (3.0, 4.0), "b": (2.0, 1.0), "c": (1.0, 2.0), "d": (0.0, 1.0), "e": (0.5, 1.0)}
NOISE = {"a": 10.0, "b": 20.0, "c": 30.0, "d": 35.0, "e": 40.0}


@dataclass
class FakeModel:
    kept: tuple[str, ...] = ()

    @property
    def plan(self) -> FakeModel:
        return self

    groups: dict[str, tuple[str, ...]] = field(
        default_factory=lambda: {name: (f"{name}.conv", f"{name}.last") for name in GROUPS}
    )

    def keep_in_float(self, groups: Sequence[str]) -> None:
        self.kept = tuple(groups)


@dataclass(frozen=True)
class FakeGraph:
    """The groups in float stand for the session; INT8 costs AP and saves time."""

    kept: frozenset[str]
    bytes: int = 2_000_000

    @property
    def session(self) -> frozenset[str]:
        return self.kept


class FakeScorer:
    def __init__(self, *, is_busy: bool = False) -> None:
        self.tried: list[frozenset[str]] = []
        self.is_busy = is_busy

    def export(self, model: FakeModel, engine: str) -> FakeGraph:
        return FakeGraph(frozenset(model.kept))

    def float_ap(self, engine: str) -> float:
        return self.ap(frozenset(GROUPS))

    def ap(self, session: frozenset[str]) -> float:
        self.tried.append(session)
        lost = sum(points for name, (points, _) in GROUPS.items() if name not in session)
        return AP_FLOAT - lost / 100

    def time(self, graphs: Sequence[FakeGraph]) -> SideBySide:
        times = [10.0 + sum(GROUPS[name][1] for name in graph.kept) for graph in graphs]
        if self.is_busy:
            return SideBySide("", (None,) * len(graphs), None)
        ratio = times[-1] / times[0]
        return SideBySide("wall", tuple(times), Ratio(ratio, ratio, ratio))


def search(
    max_drop: float,
    *,
    confirm: int = 10,
    always: tuple[str, ...] = (),
    scorer: Any = None,
    told: Any = None,
) -> PrecisionPath:
    model: Any = FakeModel()
    graph_scorer: Any = scorer or FakeScorer()
    found = search_mixed_precision(
        model,
        NOISE,
        graph_scorer,
        "onnxruntime",
        max_drop=max_drop,
        confirm=confirm,
        always=always,
        log=(told if told is not None else []).append,
    )
    assert model.kept == always
    return found


def request(**fields: Any) -> QuantizeRequest:
    return QuantizeRequest(
        checkpoint=Path("m"), out=Path("o"), data=Path("d"), config=QuantizeConfig(), **fields
    )


# --- searching -----------------------------------------------------------------------------------


def test_a_bound_that_holds_needs_no_search() -> None:
    scorer = FakeScorer()
    found = search(7.0, scorer=scorer)
    assert [point.float_groups for point in found.points] == [()]
    assert found.points[0].drop == pytest.approx(6.5)
    assert found.points[0].latency_ms == pytest.approx(10.0)
    assert found.points[0].megabytes == pytest.approx(2.0)
    assert [group.recovered for group in found.sensitivity] == [None] * 5
    assert len(scorer.tried) == 2


def test_groups_return_in_the_order_of_points_recovered_per_millisecond() -> None:
    found = search(-1.0)
    assert [group.group for group in found.sensitivity] == ["b", "a", "c", "e", "d"]
    assert found.points[-1].float_groups == ("b", "a", "c", "e", "d")
    worth = [g.recovered / g.cost_ms for g in found.sensitivity if g.recovered and g.cost_ms]
    assert worth == pytest.approx([2.0, 0.75, 0.5, 0.5])


def test_on_a_busy_machine_groups_return_by_points_alone_and_no_time_is_claimed() -> None:
    told: list[str] = []
    found = search(-1.0, scorer=FakeScorer(is_busy=True), told=told)
    assert [group.group for group in found.sensitivity] == ["a", "b", "c", "e", "d"]
    assert {group.cost_ms for group in found.sensitivity} == {None}
    assert {point.latency_ms for point in found.points} == {None}
    assert told[-1].endswith("time not measured: the machine is busy")


def test_it_stops_at_the_first_point_that_holds() -> None:
    found = search(1.6)
    assert [point.float_groups for point in found.points] == [(), ("b",), ("b", "a")]
    assert [point.drop for point in found.points] == pytest.approx([6.5, 4.5, 1.5])
    assert [point.latency_ms for point in found.points] == pytest.approx([10, 11, 15])


def test_only_the_noisiest_are_confirmed_and_the_rest_follow_by_noise() -> None:
    found = search(-1.0, confirm=2)
    assert [group.group for group in found.sensitivity] == ["b", "a", "c", "d", "e"]
    assert [group.recovered is None for group in found.sensitivity] == [False] * 2 + [True] * 3


def test_a_group_that_recovers_nothing_comes_after_those_that_do() -> None:
    told: list[str] = []
    found = search(-1.0, told=told)
    assert found.sensitivity[-1].group == "d"
    assert found.sensitivity[-1].recovered == pytest.approx(0)
    assert any("in float it recovers +2.00 points for +1.00 ms" in line for line in told)
    assert "5 groups in float, last d: drop +0.00 points, 19.00 ms" in told


def test_every_group_says_how_many_convolutions_it_is() -> None:
    assert [group.convolutions for group in search(7.0).sensitivity] == [2] * 5
    assert [group.noise_db for group in search(7.0).sensitivity] == list(NOISE.values())


# --- groups in float from the start --------------------------------------------------------------


def test_groups_below_the_bound_are_too_noisy_and_the_bound_itself_is_not() -> None:
    assert too_noisy(NOISE, 30.0) == ("a", "b")
    assert too_noisy(NOISE, 30.1) == ("a", "b", "c")
    assert too_noisy(NOISE, 10.0) == ()


def test_groups_that_are_always_in_float_are_so_at_every_point() -> None:
    found = search(0.6, always=("a", "b"))
    assert [point.float_groups for point in found.points] == [("a", "b"), ("a", "b", "c")]
    assert [point.drop for point in found.points] == pytest.approx([1.5, 0.5])
    assert [point.latency_ms for point in found.points] == pytest.approx([15, 17])


def test_groups_that_are_always_in_float_are_not_confirmed_and_stand_first() -> None:
    found = search(0.6, always=("a", "b"), confirm=1)
    assert [group.group for group in found.sensitivity] == ["a", "b", "c", "d", "e"]
    assert [group.recovered is None for group in found.sensitivity] == [
        True,
        True,
        False,
        True,
        True,
    ]
    assert [group.noise_db for group in found.sensitivity] == list(NOISE.values())


# --- picking -------------------------------------------------------------------------------------


def test_the_point_taken_is_the_last_one_walked() -> None:
    assert _pick(search(1.6).points, request(max_drop=1.6)) == 2
    assert _pick(search(float("inf")).points, request()) == 0


def test_another_point_can_be_picked_whatever_the_bound() -> None:
    assert _pick(search(-1.0).points, request(max_drop=-1.0, pick=1)) == 1
    with pytest.raises(UsageError, match="--pick 9: there are 6 points, from 0"):
        _pick(search(-1.0).points, request(max_drop=-1.0, pick=9))


def test_a_bound_that_cannot_be_met_names_the_best_point() -> None:
    with pytest.raises(GateError) as caught:
        _pick(search(-1.0).points, request(max_drop=-1.0))
    assert str(caught.value) == (
        "INT8 loses 6.50 points of AP; the best point found loses 0.00 with 4 groups in float"
        " (18.00 ms); allowed are -1"
    )
    assert caught.value.hint == "--qat trains it; --pick 4 takes that point"
