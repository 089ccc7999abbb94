"""The driver: asks a searcher, evaluates, notes every step in the journal, reports the front.

A folder of a study holds `search.toml`, `journal.sqlite`, `report.json`, `pareto.json`,
`pareto.html`, `front/DIGEST.json` (an ArchSpec for `detkit train --model`) and, where networks were
trained, `runs/DIGEST/`.
"""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from detkit.artifact import write_text
from detkit.bench.fingerprint import fingerprint
from detkit.codec import to_json, to_plain
from detkit.config import SearchConfig, to_toml
from detkit.data.coco import open_folder
from detkit.errors import UsageError
from detkit.nn.detector import Cost, cost_of
from detkit.report import ParetoPoint, SearchReport
from detkit.search import make_searcher
from detkit.search.evaluate import Evaluator, make_evaluator
from detkit.search.finalists import read_measured, take
from detkit.search.front import front_of, volume_of
from detkit.search.grid import Point
from detkit.search.journal import Journal, Told
from detkit.search.latency import latency_text, make_latency
from detkit.search.objective import goal_of, limits, to_tell, with_bound
from detkit.search.page import render_search
from detkit.search.searcher import Searcher
from detkit.spec.arch import ArchSpec, parse_image_size
from detkit.spec.space import SearchSpace, find_space
from detkit.train.loop import Interruption

MAY_CHANGE = ("trials", "batch")  # by a resumed search
OURS = ("search.toml", "journal.sqlite", "report.json", "pareto.json", "pareto.html")
FOLDERS = ("front", "runs")


@dataclass(frozen=True, kw_only=True)
class Status:
    """Where a study stands after a trial."""

    trials: int
    total: int
    figures: Mapping[str, float]
    best_score: float
    front: int
    hypervolume: float
    eta_s: float

    def line(self) -> str:
        minutes, seconds = divmod(round(self.eta_s), 60)
        score, latency = self.figures["score"], self.figures["latency_ms"]
        shown = f"score {score:.4f}" if math.isfinite(score) else "over a limit, or failed"
        if math.isfinite(latency):
            shown += f"  {latency_text(latency, self.figures['latency_error'])}"
        return (
            f"trial {self.trials}/{self.total}  {shown}"
            f"  best {self.best_score:.4f}  front {self.front}"
            f"  hypervolume {self.hypervolume:.4f}  eta {minutes}:{seconds:02d}"
        )


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """What a study tells its caller, and how the caller stops it."""

    log: Callable[[str], None] = lambda _: None
    notify: Callable[[Status], None] = lambda _: None
    interruption: Interruption = dataclasses.field(default_factory=Interruption)


class Study:
    """One search in its folder `out`, whose journal is open."""

    def __init__(
        self, config: SearchConfig, space: SearchSpace, out: Path, hooks: Hooks, *, resume: bool
    ) -> None:
        """Opens or begins the journal.

        Raises:
            UsageError: unknown names, a limit that no architecture of the space keeps, or a resumed
                study with other settings.
        """
        self.config, self.space, self.out, self.hooks = config, space, out, hooks
        self.goal = goal_of(config)
        self.searcher = self._searcher()
        self.evaluator: Evaluator = make_evaluator(config, out, hooks.interruption)
        self.latency = make_latency(config, space)
        if not resume:
            self._check_limits()
        settings = unchanging(config, space, self.latency.source)
        self.journal = Journal(out / "journal.sqlite", settings)
        self.began, self.done_before = time.monotonic(), 0

    def run(self) -> SearchReport:
        """Evaluates until the trials are used up, the space is, or a signal comes."""
        told = self.journal.told()
        self.done_before = len(told)
        for trial in told:
            self.searcher.tell(trial.point, to_tell(self.config, self.goal, trial.figures))
        waiting = self.journal.pending()
        self.searcher.remember(waiting)
        while not self.hooks.interruption.signal:
            left = self.config.trials - len(self.searcher.trials)
            if not waiting and left > 0:
                waiting = self.searcher.ask(min(self.config.batch, left))
                self.journal.ask(waiting)
            if not waiting or left <= 0:
                break
            self._evaluate(waiting)
            waiting = []
        return self._report()

    def _searcher(self) -> Searcher:
        start = [self.space.smallest_point(), *self.space.zoo_points().values()]
        return make_searcher(
            self.config.searcher,
            knobs=self.space.knobs,
            maximize=self.goal.maximize,
            minimize=self.goal.minimize,
            constraints=self.goal.constraints,
            seed=self.config.seed,
            start=start,
        )

    def _evaluate(self, points: list[Point]) -> None:
        for point in points:
            if len(self.searcher.trials) >= self.config.trials:
                return
            figures = self._figures(self.space.to_arch(point))
            if figures is None:
                return
            self.journal.tell(point, figures)
            self.searcher.tell(point, to_tell(self.config, self.goal, figures))
            self.hooks.notify(self._status(figures))
            if self.hooks.interruption.signal:
                return

    def _figures(self, spec: ArchSpec) -> dict[str, float] | None:
        """Costs, then the score unless a limit is passed already; None when interrupted."""
        cost = cost_of(spec)
        figures = {
            "parameters": float(cost.parameters),
            "macs": float(cost.macs),
            "latency_ms": math.nan,
            "latency_error": self.latency.error,
            "latency_bound_ms": math.nan,
            "score": math.nan,
            "ap": math.nan,
        }
        if self._over(figures):
            return figures
        figures |= with_bound(self.latency(spec), self.latency.error)
        if self._over(figures):
            return figures
        return self._with_score(figures, spec, cost)

    def _with_score(
        self, figures: dict[str, float], spec: ArchSpec, cost: Cost
    ) -> dict[str, float] | None:
        score = self.evaluator(spec, cost)
        if score is None:
            return None
        ap = math.nan if score.ap is None else score.ap
        return {**figures, "score": score.value, "ap": ap}

    def _over(self, figures: Mapping[str, float]) -> bool:
        return any(figures[name] > bound for name, (_, bound) in limits(self.config).items())

    def _check_limits(self) -> None:
        """Raises UsageError where the smallest network passes a limit."""
        if not limits(self.config):
            return
        spec = self.space.to_arch(self.space.smallest_point())
        cost = cost_of(spec)
        self._check("parameters", cost.parameters, "max_params", f"has {cost.parameters:,}")
        self._check("macs", cost.macs, "max_macs", f"takes {cost.macs:,}")
        if self.config.max_latency_ms:
            latency, error = self.latency(spec), self.latency.error
            bound = with_bound(latency, error)["latency_bound_ms"]
            what = f"takes {latency_text(latency, error)}"
            self._check("latency_ms", bound, "max_latency_ms", what)

    def _check(self, figure: str, value: float, setting: str, what: str) -> None:
        bound = getattr(self.config, setting)
        if bound and value > bound:
            raise UsageError(
                f"{setting} {bound:g}: no architecture of space {self.space.name} has a {figure}"
                f" that low; the smallest one {what}",
                hint="raise the limit, lower --imgsz, or search a smaller space",
            )

    # --- what came of it -------------------------------------------------------------------------

    def _status(self, figures: Mapping[str, float]) -> Status:
        told = self.journal.told()
        front = front_of(self.config, told)
        spent = time.monotonic() - self.began
        rate = spent / max(len(told) - self.done_before, 1)
        scores = [t.figures["score"] for t in told if math.isfinite(t.figures["score"])]
        return Status(
            trials=len(told),
            total=self.config.trials,
            figures=figures,
            best_score=max(scores, default=math.nan),
            front=len(front),
            hypervolume=volume_of(self.config, told, front),
            eta_s=rate * max(self.config.trials - len(told), 0),
        )

    def _report(self) -> SearchReport:
        """Writes the folder's files; the front is that of score and cost, whatever was sought."""
        told = self.journal.told()
        front = front_of(self.config, told)
        report = SearchReport(
            pareto=tuple(self._pareto_point(trial) for trial in front),
            space=self.space.name,
            space_digest=self.space.digest,
            space_size=self.space.size,
            searcher=self.config.searcher,
            evaluator=evaluator_name(self.config),
            objective=self.config.objective,
            cost=self.config.cost,
            data=self.config.data,
            trials=len(told),
            over_limit=sum(self._over(trial.figures) for trial in told),
            failed=sum(not self._over(t.figures) and math.isnan(t.figures["score"]) for t in told),
            hypervolume=volume_of(self.config, told, front),
            runtime=self.config.runtime,
            precision=self.config.precision,
            device=self.config.device,
            threads=self.config.threads,
            latency_profile=self.config.latency_profile,
            reference_ms=tuple(round(value, 4) for value in self.latency.reference_ms),
            seconds=round(time.monotonic() - self.began, 3),
            fingerprint=fingerprint(),
        )
        write_text(self.out / "report.json", to_json(report) + "\n")
        write_text(self.out / "pareto.json", to_json(report.pareto) + "\n")
        for point in report.pareto:
            path = self.out / "front" / f"{point.digest}.json"
            write_text(path, json.dumps(point.arch, indent=2) + "\n")
        zoo = {name: self.searcher.grid.to_row(p) for name, p in self.space.zoo_points().items()}
        named = {
            name: trial.figures
            for name, row in zoo.items()
            for trial in told
            if self.searcher.grid.to_row(trial.point) == row
        }
        everything = [trial.figures for trial in told]
        write_text(self.out / "pareto.html", render_search(report, everything, named))
        return report

    def _pareto_point(self, trial: Told) -> ParetoPoint:
        spec, figures = self.space.to_arch(trial.point), trial.figures
        checkpoint = self.out / "runs" / spec.digest / "best.safetensors"
        return ParetoPoint(
            name=spec.name,
            arch=to_plain(spec),
            digest=spec.digest,
            ap=None if math.isnan(figures["ap"]) else figures["ap"],
            score=figures["score"],
            latency_ms=figures["latency_ms"],
            measured=not figures["latency_error"],
            latency_error=figures["latency_error"],
            parameters=int(figures["parameters"]),
            macs=int(figures["macs"]),
            checkpoint=str(checkpoint) if checkpoint.is_file() else "",
        )


def search(
    config: SearchConfig,
    out: Path,
    *,
    resume: bool,
    force: bool,
    hooks: Hooks,
    measured: Path | None = None,
) -> SearchReport:
    """Searches in the folder `out`, going on with what is there if `resume`.

    Args:
        measured: latencies of the front of this study, to be taken into it first.

    Raises:
        UsageError: settings that make no sense, a folder with something in it, or a limit that no
            architecture of the space keeps.
        DataError: data that cannot be used.
    """
    space = space_of(config)
    measured_front = None if measured is None else read_measured(measured, config)
    if measured_front and not resume:
        raise UsageError("--measured is for a search that is resumed", hint="--resume")
    if not (resume or force) and out.is_dir() and any(out.iterdir()):
        raise UsageError(
            f"{out} is not empty", hint="--resume goes on with it, --force begins it anew"
        )
    if resume and not (out / "journal.sqlite").is_file():
        raise UsageError(f"{out} holds no search to resume")
    if force and not resume:
        clear(out)
    hooks.log(
        f"space {space.name} ({space.digest}): {len(space.knobs)} knobs, {space.size:.3g}"
        f" architectures; {config.searcher}, {evaluator_name(config)}, {config.objective}"
    )
    study = Study(config, space, out, hooks, resume=resume)
    try:
        write_text(out / "search.toml", to_toml(config))
        if measured_front:
            taken = take(study.journal, space, measured_front)
            hooks.log(f"{taken} predicted latencies replaced by measured ones")
        return study.run()
    finally:
        study.journal.close()


def space_of(config: SearchConfig) -> SearchSpace:
    """The space for the classes of the data and the image size asked for."""
    classes = config.classes
    if config.data:
        folder = open_folder(Path(config.data), files={}, splits=("train", "val"))
        classes = len(next(iter(folder.splits.values())).class_names)
    size = parse_image_size(config.imgsz) if config.imgsz else None
    return find_space(config.space).for_task(classes, size)


def unchanging(config: SearchConfig, space: SearchSpace, latency: str) -> dict[str, str]:
    """What a resumed study must find as it was."""
    plain = {key: value for key, value in to_plain(config).items() if key not in MAY_CHANGE}
    settings = {k: json.dumps(v) for k, v in plain.items() if k != "space"}
    return {"space": space.digest, "latency": latency, **settings}


def evaluator_name(config: SearchConfig) -> str:
    """With the proxy or the epochs: scores of different ones cannot be compared."""
    detail = config.proxy if config.evaluator == "proxy" else f"{config.epochs} epochs"
    return f"{config.evaluator} ({detail})"


def clear(out: Path) -> None:
    """Removes what an earlier search of ours left, and nothing else."""
    for name in OURS:
        (out / name).unlink(missing_ok=True)
    for name in FOLDERS:
        if (out / name).is_dir():
            shutil.rmtree(out / name)
