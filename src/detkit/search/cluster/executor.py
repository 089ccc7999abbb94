"""Where candidates are evaluated: the interface, and the executor of this process.

A task is stateless: it takes an architecture and gives figures. What lives here: what tasks are and
how they run one after the other. What does not: a cluster (`search.cluster.ray`), and the order of
tasks, retries and the journal (`search.study.dispatch`), which belong to the driver alone.
"""

from __future__ import annotations

import functools
import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from detkit.config import SearchConfig
from detkit.core.errors import DetkitError
from detkit.engines import engine_packages
from detkit.machine.fingerprint import fingerprint
from detkit.nn.detector import Cost
from detkit.search.scoring.evaluators import Evaluator, Score
from detkit.search.scoring.latency import LatencyMeter, timing_setup
from detkit.spec.arch import ArchSpec
from detkit.train.stop import StopSignal

TaskKind = Literal["measure", "score"]
USER_ERRORS = (DetkitError, OSError, ImportError)  # by the user, and not the architecture's fault


@dataclass(frozen=True, kw_only=True)
class Task:
    """Asks for the latency or the score of an architecture; `number` is unique in a study."""

    number: int
    kind: TaskKind
    spec: ArchSpec
    cost: Cost


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The result of a task. `failure` says why there are no figures.

    `lost` says that its worker died, not that the task is at fault: it may be tried again.
    """

    task: Task
    figures: Mapping[str, float]
    failure: str = ""
    lost: bool = False


class Executor(Protocol):
    """Runs tasks somewhere. `fingerprint` is of the machine that latency is measured on."""

    @property
    def slots(self) -> int:
        """The number of candidates that can run at once, at least one."""
        ...

    @property
    def fingerprint(self) -> dict[str, str]: ...

    def submit(self, task: Task) -> None: ...

    def wait(self) -> Outcome | None:
        """Returns the next task to end; None where none ended for a moment, or one was interrupted.

        Raises:
            DetkitError: what the user has to mend before any task can be done.
        """
        ...

    def close(self) -> None:
        """Cancels the tasks that still run."""
        ...


def run_task(executor: Executor, task: Task, stop: StopSignal, *, retries: int) -> Outcome | None:
    """Runs one task while no other runs; None where a signal came first."""
    executor.submit(task)
    while (outcome := executor.wait()) is None or (outcome.lost and retries):
        if stop.signal:
            return None
        if outcome is not None:
            retries -= 1
            executor.submit(task)
    return outcome


def score_figures(score: Score) -> dict[str, float]:
    return {"score": score.value, "ap": math.nan if score.ap is None else score.ap}


class LocalExecutor:
    """Runs one task after the other, in this process and in the order they were submitted."""

    slots = 1

    def __init__(self, config: SearchConfig, evaluator: Evaluator) -> None:
        """Raises UsageError for a precision that the engine does not compute in."""
        self.setup, self.evaluator = timing_setup(config), evaluator
        self.waiting: deque[Task] = deque()

    @functools.cached_property
    def meter(self) -> LatencyMeter:
        return LatencyMeter(self.setup)

    @property
    def fingerprint(self) -> dict[str, str]:
        return fingerprint(engine_packages())

    def submit(self, task: Task) -> None:
        self.waiting.append(task)

    def wait(self) -> Outcome | None:
        task = self.waiting.popleft()
        try:
            return self._run(task)
        except USER_ERRORS:
            raise
        except Exception as error:  # one architecture that cannot be built must not end a search
            return Outcome(task=task, figures={}, failure=error_line(error))

    def close(self) -> None:
        self.waiting.clear()

    def _run(self, task: Task) -> Outcome | None:
        if task.kind == "measure":
            return Outcome(task=task, figures=self.meter(task.spec))
        score = self.evaluator(task.spec, task.cost)
        if score is None:
            return None
        return Outcome(task=task, figures=score_figures(score), failure=score.failure)


def error_line(error: BaseException) -> str:
    """Describes an error in one line: its kind and the first line of its message."""
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}".rstrip(": ")
