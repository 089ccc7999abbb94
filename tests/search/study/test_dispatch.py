"""The driver's loop over an executor whose workers die, fail and answer in any order."""

from __future__ import annotations

import json
import math
import random
import signal
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from detkit.config import RayConfig, SearchConfig
from detkit.nn.detector import Cost
from detkit.search.cluster.executor import Outcome, Task
from detkit.search.scoring.objective import limits
from detkit.search.strategies import make_searcher
from detkit.search.study.dispatch import Dispatcher
from detkit.search.study.journal import CompletedTrial, Journal
from detkit.search.study.progress import SearchCallbacks
from detkit.spec.arch import ArchSpec
from detkit.spec.space import SPACES
from detkit.train.stop import StopSignal
from fixtures.command_line import Detkit

SPACE = SPACES["tiny"].for_task(3, (64, 64))
CONFIG = SearchConfig(
    space="tiny", searcher="random", trials=24, ray=RayConfig(address="none", retries=2)
)


def describe(point: dict[str, Any]) -> tuple[ArchSpec, Cost]:
    spec = SPACE.to_arch(point)
    size = spec.stem + sum(stage.hidden * stage.blocks for stage in spec.stages)
    return spec, Cost(parameters=size + spec.head_widths[0], macs=1000 * size)


def figures_of(task: Task) -> dict[str, float]:
    if task.kind == "measure":
        return {"latency_ms": task.cost.macs / 1e5, "reference_ms": 1.0}
    return {"score": math.log(task.cost.parameters), "ap": math.nan}


class Cluster:
    """Ends one of the tasks under way, drawn by chance; `end` may let it die or fail."""

    fingerprint: dict[str, str] = {}  # noqa: RUF012

    def __init__(
        self, slots: int, seed: int = 0, end: Callable[[Task], dict[str, Any]] = lambda task: {}
    ) -> None:
        self.slots, self.rng, self.end = slots, random.Random(seed), end
        self.under_way: list[Task] = []
        self.most_under_way = 0

    def submit(self, task: Task) -> None:
        self.under_way.append(task)
        self.most_under_way = max(self.most_under_way, len(self.under_way))

    def wait(self) -> Outcome | None:
        if self.rng.random() < 0.2:
            return None
        task = self.under_way.pop(self.rng.randrange(len(self.under_way)))
        ending = self.end(task)
        return Outcome(task=task, **{"figures": {} if ending else figures_of(task), **ending})

    def close(self) -> None:
        self.under_way.clear()


class Driver:
    """A study's parts in a folder, with what it logged and told."""

    def __init__(self, folder: Path, executor: Cluster, config: SearchConfig = CONFIG) -> None:
        self.journal = Journal(folder / "journal.sqlite", {})
        self.searcher = make_searcher(
            config.searcher,
            knobs=SPACE.knobs,
            maximize=("score",),
            minimize=("latency_ms",),
            constraints=limits(config),
        )
        self.lines: list[str] = []
        self.told: list[dict[str, float]] = []
        self.stop = StopSignal()
        self.dispatcher = Dispatcher(
            config,
            self.searcher,
            self.journal,
            executor,
            build_arch=describe,
            predict=None,
            on_trial=self.tell,
            callbacks=SearchCallbacks(log=self.lines.append, stop=self.stop),
        )

    def tell(self, figures: Mapping[str, float]) -> None:
        self.told.append(dict(figures))

    def run(self) -> tuple[list[CompletedTrial], list[dict[str, Any]]]:
        """The journal's trials, after a run."""
        self.dispatcher.run()
        trials, pending = self.journal.completed(), self.journal.pending()
        self.journal.close()
        return trials, pending


def key(trial: CompletedTrial) -> str:
    return json.dumps(trial.point, sort_keys=True)


@pytest.mark.parametrize("seed", range(3))
def test_tasks_may_end_in_any_order(tmp_path: Path, seed: int) -> None:
    cluster = Cluster(5, seed)
    driver = Driver(tmp_path, cluster)
    trials, pending = driver.run()
    assert (len(trials), pending, cluster.most_under_way) == (24, [], 5)
    assert len(set(map(key, trials))) == 24
    for trial in trials:
        spec, cost = describe(trial.point)
        tasks = [Task(number=0, kind=kind, spec=spec, cost=cost) for kind in ("measure", "score")]
        expected = {**figures_of(tasks[0]), **figures_of(tasks[1])}
        assert {name: trial.figures[name] for name in expected} == pytest.approx(
            expected, nan_ok=True
        )


def test_slots_are_kept_busy_to_the_end(tmp_path: Path) -> None:
    seen = []

    class Watched(Cluster):
        def wait(self) -> Outcome | None:
            seen.append(len(self.under_way))
            return super().wait()

    Driver(tmp_path, Watched(4)).run()
    assert Counter(seen).most_common(1)[0][0] == 4
    assert max(seen) == 4


def test_lost_task_is_tried_again_and_told_once(tmp_path: Path) -> None:
    deaths: Counter[tuple[int, str]] = Counter()

    def die_twice(task: Task) -> dict[str, Any]:
        deaths[task.number, task.kind] += 1
        return {"failure": "WorkerCrashedError", "lost": True} if deaths.total() % 3 == 0 else {}

    driver = Driver(tmp_path, Cluster(3, end=die_twice))
    trials, _ = driver.run()
    assert len(set(map(key, trials))) == len(driver.told) == 24
    assert any("trying again (1 of 2)" in line for line in driver.lines)


def test_task_that_is_always_lost_is_told_as_failed_after_its_retries(tmp_path: Path) -> None:
    attempts: Counter[int] = Counter()

    def die(task: Task) -> dict[str, Any]:
        attempts[task.number] += task.kind == "score"
        is_cursed = task.kind == "score" and task.number == 3
        return {"failure": "NodeDiedError", "lost": True} if is_cursed else {}

    driver = Driver(tmp_path, Cluster(3, end=die))
    trials, _ = driver.run()
    failed = [trial for trial in trials if math.isnan(trial.figures["score"])]
    assert (len(trials), len(failed), attempts[3]) == (24, 1, 3)
    assert math.isfinite(failed[0].figures["latency_ms"])
    assert "NodeDiedError; recorded as failed" in driver.lines[-1]


def test_task_that_fails_is_not_tried_again(tmp_path: Path) -> None:
    attempts: Counter[int] = Counter()

    def fail(task: Task) -> dict[str, Any]:
        attempts[task.number] += 1
        return {"failure": "RuntimeError: shape"} if task.number % 4 == 0 else {}

    driver = Driver(tmp_path, Cluster(3, end=fail))
    trials, _ = driver.run()
    failed = [trial for trial in trials if math.isnan(trial.figures["latency_ms"])]
    assert (len(trials), len(failed), attempts[4]) == (24, 6, 1)
    assert sum("RuntimeError: shape; recorded as failed" in line for line in driver.lines) == 6
    assert len(driver.searcher.front()) > 0


def test_over_a_limit_no_task_is_begun(tmp_path: Path) -> None:
    seen: list[Task] = []
    config = SearchConfig(space="tiny", searcher="random", trials=24, max_macs=300_000.0)

    def note(task: Task) -> dict[str, Any]:
        seen.append(task)
        return {}

    Driver(tmp_path, Cluster(4, end=note), config).run()
    assert seen
    assert max(task.cost.macs for task in seen) <= 300_000


def test_signal_leaves_what_is_under_way_to_a_resumed_search(tmp_path: Path) -> None:
    driver = Driver(tmp_path, Cluster(4))

    def stop_after_six(figures: Mapping[str, float]) -> None:
        driver.told.append(dict(figures))
        driver.stop.signal = signal.SIGINT if len(driver.told) == 6 else 0

    driver.dispatcher.on_trial = stop_after_six
    trials, pending = driver.run()
    assert (len(trials), len(pending)) == (6, 3)
    resumed = Driver(tmp_path, Cluster(4, seed=1))
    after, left = resumed.run()
    assert list(map(key, after[:6])) == list(map(key, trials))
    assert (len(set(map(key, after))), len(resumed.told), left) == (24, 18, [])
    assert {json.dumps(point, sort_keys=True) for point in pending} <= set(map(key, after))


def test_space_that_is_used_up_ends_the_search(tmp_path: Path) -> None:
    config = SearchConfig(space="tiny", searcher="random", trials=500)
    trials, pending = Driver(tmp_path, Cluster(7), config).run()
    assert (len(trials), pending) == (144, [])


def test_killed_driver_resumes_without_losing_or_repeating_a_trial(
    fork: Detkit, tmp_path: Path
) -> None:
    """Each run of the driver kills itself while tasks are under way, but for the last."""
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "sys.path.insert(0, sys.argv[3])\n"
        "from search.study.test_dispatch import Cluster, Driver\n"
        "folder, lifetime = Path(sys.argv[1]), int(sys.argv[2])\n"
        "driver = Driver(folder, Cluster(4, seed=lifetime))\n"
        "def told(figures):\n"
        "    driver.told.append(dict(figures))\n"
        "    if len(driver.told) == lifetime:\n"
        "        os.kill(os.getpid(), 9)\n"
        "driver.dispatcher.on_trial = told\n"
        "driver.run()\n"
    )
    tests, counts = str(Path(__file__).parents[2]), []
    for lifetime in (7, 5, 1000):
        done = fork(str(tmp_path), str(lifetime), tests, script=script)
        assert done.returncode == (0 if lifetime == 1000 else -signal.SIGKILL)
        journal = Journal(tmp_path / "journal.sqlite", {})
        counts.append((len(journal.completed()), len(journal.pending())))
        assert len(set(map(key, journal.completed()))) == len(journal.completed())
        journal.close()
    assert counts == [(7, 3), (12, 3), (24, 0)]
