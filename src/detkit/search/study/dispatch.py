"""Takes points from the searcher through cost, latency and score, as far as the limits let them.

The driver's part of a search: it alone asks and tells, and writes both into the journal first.
Tasks may end in any order, be lost and be tried again; every point is told once.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from detkit.config import SearchConfig
from detkit.nn.detector import Cost
from detkit.search.cluster.executor import Executor, Outcome, Task, TaskKind
from detkit.search.scoring.objective import limits, objectives_of, to_tell
from detkit.search.strategies.discrete_space import Point
from detkit.search.strategies.searcher import Searcher
from detkit.search.study.journal import Journal
from detkit.search.study.progress import SearchCallbacks
from detkit.spec.arch import ArchSpec

FIGURES = ("latency_ms", "latency_bound_ms", "reference_ms", "score", "ap")
UNKNOWN = {**dict.fromkeys(FIGURES, math.nan), "latency_error": 0.0}


@dataclass(kw_only=True)
class RunningTrial:
    """A point whose tasks run, and its figures so far."""

    point: Point
    figures: dict[str, float]
    losses: int = field(default=0)  # workers that died with the task in hand


class Dispatcher:
    """Keeps the executor's slots busy until the trials are used up or the space is."""

    def __init__(
        self,
        config: SearchConfig,
        searcher: Searcher,
        journal: Journal,
        executor: Executor,
        *,
        build_arch: Callable[[Point], tuple[ArchSpec, Cost]],
        predict: Callable[[ArchSpec], Mapping[str, float]] | None,
        on_trial: Callable[[Mapping[str, float]], None],
        callbacks: SearchCallbacks,
    ) -> None:
        """Takes the parts of a search.

        Args:
            build_arch: gives the architecture of a point.
            predict: gives the figures of its latency; without it they are measured.
            on_trial: gets the figures of every trial.
        """
        self.config, self.objectives = config, objectives_of(config)
        self.searcher, self.journal, self.executor = searcher, journal, executor
        self.build_arch, self.predict, self.on_trial = build_arch, predict, on_trial
        self.log, self.stop = callbacks.log, callbacks.stop
        self.waiting: deque[Point] = deque()  # asked, not begun
        self.running: dict[int, RunningTrial] = {}
        self.begun = 0

    def run(self) -> None:
        """Runs until nothing is left to try or a signal comes; running points are not told then."""
        for trial in self.journal.completed():
            self.searcher.tell(trial.point, to_tell(self.config, self.objectives, trial.figures))
        self.waiting.extend(self.journal.pending())
        self.searcher.remember(self.waiting)
        while not self.stop.signal:
            self._fill()
            if not self.running:
                self._log_if_used_up()
                return
            outcome = None if self.stop.signal else self.executor.wait()
            if outcome is not None:
                self._advance(outcome)

    def _fill(self) -> None:
        while len(self.running) < self.executor.slots and not self.stop.signal:
            point = self._next_point()
            if point is None:
                return
            self._begin(point)

    def _next_point(self) -> Point | None:
        """The next point; asks for a batch where candidates run singly, else for the free slots."""
        left = self.config.trials - len(self.searcher.trials) - len(self.running)
        if left <= 0:
            return None
        if not self.waiting:
            slots = self.executor.slots
            wanted = self.config.batch if slots == 1 else max(slots - len(self.running), 1)
            self.waiting.extend(self.searcher.ask(min(wanted, left)))
            self.journal.ask(list(self.waiting))
        return self.waiting.popleft() if self.waiting else None

    def _log_if_used_up(self) -> None:
        done, wanted = len(self.searcher.trials), self.config.trials
        if done < wanted and not self.stop.signal:
            self.log(f"the space holds no more architectures: {done} of {wanted} trials")

    def _begin(self, point: Point) -> None:
        spec, cost = self.build_arch(point)
        costs = {"parameters": float(cost.parameters), "macs": float(cost.macs)}
        trial = RunningTrial(point=point, figures={**costs, **UNKNOWN})
        if self.predict is not None:
            trial.figures.update(self.predict(spec))
        if is_over(self.config, trial.figures):
            self._tell(trial)
            return
        self.begun += 1
        self.running[self.begun] = trial
        kind: TaskKind = "measure" if self.predict is None else "score"
        self.executor.submit(Task(number=self.begun, kind=kind, spec=spec, cost=cost))

    def _advance(self, outcome: Outcome) -> None:
        """Takes a point on to its next task, or to its end."""
        task, trial = outcome.task, self.running[outcome.task.number]
        trial.figures.update(outcome.figures)
        if outcome.lost and trial.losses < self.config.ray.retries:
            trial.losses += 1
            attempt = f"trying again ({trial.losses} of {self.config.ray.retries})"
            self.log(f"{task.spec.name}, {task.kind}: {outcome.failure}; {attempt}")
            self.executor.submit(task)
            return
        if outcome.failure:
            self.log(f"{task.spec.name}, {task.kind}: {outcome.failure}; recorded as failed")
        elif task.kind == "measure" and not is_over(self.config, trial.figures):
            score = Task(number=task.number, kind="score", spec=task.spec, cost=task.cost)
            self.executor.submit(score)
            return
        del self.running[task.number]
        self._tell(trial)

    def _tell(self, trial: RunningTrial) -> None:
        self.journal.tell(trial.point, trial.figures)
        figures = to_tell(self.config, self.objectives, trial.figures)
        self.searcher.tell(trial.point, figures)
        self.on_trial(trial.figures)


def is_over(config: SearchConfig, figures: Mapping[str, float]) -> bool:
    """Whether a figure passes its limit; one that is not known yet does not."""
    return any(figures[name] > bound for name, (_, bound) in limits(config).items())
