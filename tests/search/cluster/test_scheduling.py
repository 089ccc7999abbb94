"""Which node takes which task, on clusters that exist on paper only."""

from __future__ import annotations

from typing import Any

import pytest

from detkit.nn.detector import Cost
from detkit.search.cluster.executor import Task, TaskKind
from detkit.search.cluster.scheduling import Node, schedule, shared_hosts, total_capacity
from detkit.spec.zoo import ZOO

COST = Cost(parameters=1, macs=1)


def task(number: int, kind: TaskKind) -> Task:
    return Task(number=number, kind=kind, spec=ZOO["yolo-nas-p"], cost=COST)


def node(name: str, *, measures: bool = False, capacity: int = 2) -> Node:
    return Node(id=name, address=name, host=name, cpus=2, measures=measures, capacity=capacity)


def placed(waiting: Any, nodes: Any, running: Any = ()) -> dict[int, str]:
    return {task.number: node.id for task, node in schedule(waiting, running, nodes)}


DEVICE, SERVER, OTHER = node("jetson", measures=True), node("server"), node("other", capacity=1)


def test_device_only_measures_and_one_candidate_at_a_time() -> None:
    waiting = [task(n, "measure") for n in (1, 2)] + [task(n, "score") for n in (3, 4, 5, 6)]
    found = placed(waiting, [DEVICE, SERVER, OTHER])
    assert found == {1: "jetson", 3: "server", 4: "other", 5: "server"}


def test_every_device_measures() -> None:
    second = node("jetson 2", measures=True)
    found = placed([task(n, "measure") for n in (1, 2, 3)], [DEVICE, second, SERVER])
    assert found == {1: "jetson", 2: "jetson 2"}


def test_machine_that_does_both_never_does_both_at_once() -> None:
    alone = node("alone", measures=True)
    score, measurement = task(1, "score"), task(2, "measure")
    assert placed([score, measurement], [alone]) == {2: "alone"}
    assert placed([score], [alone], [(measurement, alone)]) == {}
    assert placed([measurement], [alone], [(score, alone)]) == {}


def test_measurement_that_waits_is_not_overtaken_for_ever() -> None:
    alone, scores = node("alone", measures=True), [task(1, "score"), task(2, "score")]
    waiting = [task(3, "measure"), scores[1]]
    assert placed(waiting, [alone], [(scores[0], alone)]) == {}
    assert placed(waiting, [alone]) == {3: "alone"}
    assert placed(scores, [alone]) == {1: "alone", 2: "alone"}


def test_measuring_machine_scores_when_all_others_are_gone() -> None:
    assert placed([task(1, "score")], [DEVICE, SERVER]) == {1: "server"}
    assert placed([task(1, "score")], [DEVICE]) == {1: "jetson"}
    assert placed([task(1, "score")], [node("small", measures=True, capacity=0)]) == {}


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([DEVICE, SERVER, OTHER], 4),  # three scores, one measurement
        ([DEVICE], 2),
        ([node("device", measures=True, capacity=0), SERVER], 3),
        ([], 0),
    ],
)
def test_room_counts_scores_and_measurements_beside_them(nodes: list[Node], expected: int) -> None:
    assert total_capacity(nodes) == expected


def test_nodes_on_the_measuring_machine_are_found() -> None:
    twin = Node(id="b", address="b", host="jetson", cpus=2, measures=False, capacity=1)
    assert shared_hosts([DEVICE, SERVER, twin]) == ["jetson"]
    assert shared_hosts([DEVICE, SERVER, OTHER]) == []
