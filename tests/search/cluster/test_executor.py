"""A task alone, as a study measures before its candidates are under way."""

from __future__ import annotations

import pytest

from detkit.nn.detector import Cost
from detkit.search.cluster.executor import Outcome, Task, run_task
from detkit.spec.zoo import ZOO
from detkit.train.stop import StopSignal

TASK = Task(number=0, kind="measure", spec=ZOO["yolo-nas-p"], cost=Cost(parameters=1, macs=1))


class Dying:
    """Loses a task so many times; answers every second question only."""

    slots = 1
    fingerprint: dict[str, str] = {}  # noqa: RUF012

    def __init__(self, deaths: int) -> None:
        self.deaths, self.submitted, self.asked = deaths, 0, 0

    def submit(self, task: Task) -> None:
        self.submitted += 1

    def wait(self) -> Outcome | None:
        self.asked += 1
        if self.asked % 2:
            return None
        lost = self.submitted <= self.deaths
        return Outcome(task=TASK, figures={}, failure="WorkerCrashedError" * lost, lost=lost)

    def close(self) -> None:
        raise AssertionError("nobody closes what was handed in")


@pytest.mark.parametrize(("deaths", "failed"), [(0, False), (2, False), (3, True)])
def test_lost_task_is_tried_again_as_often_as_allowed(deaths: int, failed: bool) -> None:
    executor = Dying(deaths)
    outcome = run_task(executor, TASK, StopSignal(), retries=2)
    assert outcome is not None
    assert bool(outcome.failure) == failed
    assert executor.submitted == min(deaths, 2) + 1


def test_signal_ends_the_wait() -> None:
    assert run_task(Dying(0), TASK, StopSignal(signal=15), retries=2) is None
