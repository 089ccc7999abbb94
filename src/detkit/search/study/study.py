"""The driver: asks a searcher, evaluates, writes each step to the journal, reports the front.

A folder of a study holds `run_search.toml`, `journal.sqlite`, `report.json`, `pareto.json`,
`pareto.html`, `front/DIGEST.json` (an ArchSpec for `detkit train --model`) and, where networks were
trained, `runs/DIGEST/`; where they share weights, `supernet/`; what a searcher keeps, `searcher/`.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from detkit.artifact.writing import write_text
from detkit.config import SearchConfig, to_toml
from detkit.core.content_digest import seal
from detkit.core.errors import MeasurementError, TrainingError, UsageError
from detkit.core.lazy_import import import_function
from detkit.core.run_lock import killed_note, locked_folder
from detkit.core.serialization import digest_of, to_json, to_plain
from detkit.data.coco.classes import read_classes
from detkit.engines import find_engine
from detkit.nn.detector import Cost, cost_of
from detkit.pages.search_page import render_search
from detkit.report import MeasuredFront, ParetoPoint, SearchReport
from detkit.search.cluster.executor import Executor, LocalExecutor, Task, run_task
from detkit.search.cluster.node import serialize_weights
from detkit.search.scoring.evaluators import (
    Evaluator,
    Score,
    SharingEvaluator,
    help_train_supernet,
    make_evaluator,
)
from detkit.search.scoring.latency import latency_text, open_predictor
from detkit.search.scoring.objective import limits, objectives_of
from detkit.search.scoring.relaxation import SupernetRelaxation
from detkit.search.scoring.study_folder import begin_study, claim_in_study
from detkit.search.strategies import make_searcher
from detkit.search.strategies.discrete_space import Point
from detkit.search.strategies.searcher import Searcher
from detkit.search.study.dispatch import UNKNOWN, Dispatcher, is_over
from detkit.search.study.file_cache import FileCache
from detkit.search.study.front import front_of, licence_of, volume_of, volumes_of
from detkit.search.study.journal import JOURNAL, CompletedTrial, Journal
from detkit.search.study.measured_front import apply_measured, read_measured
from detkit.search.study.progress import ProgressLogger, SearchCallbacks, SearchProgress
from detkit.search.study.settings import CONFIG, evaluator_name, fixed_settings, goes_on
from detkit.spec.arch import ArchSpec, parse_image_size
from detkit.spec.space import SearchSpace, find_space
from detkit.train import ranks
from detkit.train.stop import Stopped


class Study:
    """One search in its folder `out`, whose journal is open."""

    def __init__(
        self,
        config: SearchConfig,
        space: SearchSpace,
        out: Path,
        callbacks: SearchCallbacks,
        *,
        evaluator: Evaluator,
        executor: Executor,
        resume: bool,
    ) -> None:
        """Opens the journal, or begins a new one.

        Raises:
            UsageError: unknown names, a limit that no architecture of the space keeps, or a resumed
                study with other settings, or a file in the way that is not the study's.
        """
        self.config, self.space, self.out, self.callbacks = config, space, out, callbacks
        self.executor = executor
        self.sharing = evaluator if isinstance(evaluator, SharingEvaluator) else None
        self.predictor = open_predictor(config, space)
        source = self.predictor.source if self.predictor else "measured"
        self.settings = fixed_settings(config, space, source)
        self.relaxation = self._relaxation()
        self.searcher = self._searcher()
        self.delivered: dict[str, Score] = {}
        if not resume:
            self._check_limits()
        begin_study(out, resume=resume)
        if not resume:
            write_text(out / CONFIG, to_toml(config))  # before the journal: it says how to resume
        self.journal = Journal(out / JOURNAL, self.settings)
        self.done_before = len(self.journal.completed())
        self.began = self.trying_since = time.monotonic()

    def run(self) -> SearchReport:
        """Evaluates until the trials are used up, the space is, or a signal comes.

        Raises:
            TrainingError: no trial has a score, though some were within the limits.
        """
        if self.sharing and not self.sharing.prepare(self.space, self.callbacks.log):
            return self._report()
        self.trying_since = time.monotonic()
        dispatcher = Dispatcher(
            self.config,
            self.searcher,
            self.journal,
            self.executor,
            build_arch=self._build_arch,
            predict=self.predictor,
            on_trial=lambda figures: self.callbacks.on_progress(self._progress(figures)),
            callbacks=self.callbacks,
        )
        with contextlib.suppress(Stopped):  # running points are not told then
            if self.relaxation:
                self.relaxation.measure(ProgressLogger(self.callbacks.log))
            dispatcher.run()
        if self.sharing and not self.callbacks.stop.signal:
            front = front_of(self.config, self.journal.completed())
            self.delivered = self.sharing.deliver([self.space.to_arch(t.point) for t in front])
        report = self._report()
        if report.failed and report.failed == report.trials - report.over_limit:
            raise TrainingError(
                f"not one of {report.failed} architectures could be scored",
                hint="the lines above say why; once that is fixed, start over with --force",
            )
        return report

    def _searcher(self) -> Searcher:
        objectives = objectives_of(self.config)
        start = [self.space.smallest_point(), *self.space.zoo_points().values()]
        return make_searcher(
            self.config.searcher,
            knobs=self.space.knobs,
            maximize=objectives.maximize,
            minimize=objectives.minimize,
            constraints=objectives.constraints,
            seed=self.config.seed,
            start=start,
            relaxation=self.relaxation,
            cache=FileCache(self.out / "searcher", self._key),
            log_progress=ProgressLogger(self.callbacks.log),
        )

    def _key(self) -> str:
        """Digest of all that a searcher's points depend on, but for the trials."""
        weights = serialize_weights(self.sharing).digest if self.sharing else ""
        return digest_of([self.settings, weights])

    def _relaxation(self) -> SupernetRelaxation | None:
        """The objective that the searcher `gradient` descends on, where the evaluator has one."""
        if self.config.searcher != "gradient" or self.sharing is None:
            return None
        return self.sharing.relax(self.space, self._costs)

    def _costs(self, spec: ArchSpec) -> dict[str, float]:
        """The counted costs, and latency where that is sought or limited."""
        cost = cost_of(spec)
        figures = {"parameters": float(cost.parameters), "macs": float(cost.macs)}
        if self.config.cost == "latency_ms" or self.config.max_latency_ms:
            figures |= self._latency(spec, cost)
            self.callbacks.stop.check()
        return figures

    def _build_arch(self, point: Point) -> tuple[ArchSpec, Cost]:
        spec = self.space.to_arch(point)
        return spec, cost_of(spec)

    def _check_limits(self) -> None:
        """Raises UsageError where the smallest network passes a limit."""
        if not limits(self.config):
            return
        spec = self.space.to_arch(self.space.smallest_point())
        cost = cost_of(spec)
        self._check("max_params", cost.parameters, f"has {cost.parameters:,}")
        self._check("max_macs", cost.macs, f"takes {cost.macs:,}")
        if self.config.max_latency_ms:
            found = self._latency(spec, cost)
            what = f"takes {latency_text(found['latency_ms'], found['latency_error'])}"
            self._check("max_latency_ms", found["latency_bound_ms"], what)

    def _latency(self, spec: ArchSpec, cost: Cost) -> Mapping[str, float]:
        """The figures of a latency, found as those of candidates are; NaN where a signal came.

        Raises:
            MeasurementError: it could not be measured.
        """
        if self.predictor:
            return self.predictor(spec)
        task = Task(number=0, kind="measure", spec=spec, cost=cost)
        stop, retries = self.callbacks.stop, self.config.ray.retries
        outcome = run_task(self.executor, task, stop, retries=retries)
        if outcome is None:
            return UNKNOWN
        if outcome.failure:
            raise MeasurementError(f"cannot measure {spec.name}: {outcome.failure}")
        return outcome.figures

    def _check(self, setting: str, value: float, what: str) -> None:
        bound = getattr(self.config, setting)
        if bound and value > bound:
            raise UsageError(
                f"{setting} {bound:g}: no architecture of space {self.space.name} keeps it;"
                f" the smallest one {what}",
                hint="raise the limit, lower --imgsz, or search a smaller space",
            )

    # --- what came of it -------------------------------------------------------------------------

    def _progress(self, figures: Mapping[str, float]) -> SearchProgress:
        trials = self.journal.completed()
        front = front_of(self.config, trials)
        spent = time.monotonic() - self.trying_since
        rate = spent / max(len(trials) - self.done_before, 1)
        scores = [t.figures["score"] for t in trials if math.isfinite(t.figures["score"])]
        return SearchProgress(
            trials=len(trials),
            total=self.config.trials,
            figures=figures,
            best_score=max(scores, default=math.nan),
            front=len(front),
            hypervolume=volume_of(self.config, trials, front),
            eta_s=rate * max(self.config.trials - len(trials), 0),
        )

    def _report(self) -> SearchReport:
        """Writes the folder's files; the front is that of score and cost, whatever was sought."""
        trials = self.journal.completed()
        front = front_of(self.config, trials)
        references = [trial.figures.get("reference_ms", math.nan) for trial in trials]
        pareto = tuple(self._pareto_point(trial) for trial in front)
        report = SearchReport(
            pareto=pareto,
            licence=licence_of(point.checkpoint for point in pareto),
            space=self.space.name,
            space_digest=self.space.digest,
            space_size=self.space.size,
            searcher=self.config.searcher,
            evaluator=evaluator_name(self.config),
            objective=self.config.objective,
            cost=self.config.cost,
            data=self.config.data,
            trials=len(trials),
            over_limit=sum(is_over(self.config, trial.figures) for trial in trials),
            failed=sum(
                math.isnan(t.figures["score"]) and not is_over(self.config, t.figures)
                for t in trials
            ),
            hypervolume=volume_of(self.config, trials, front),
            runtime=find_engine(self.config.runtime).name,
            precision=self.config.precision,
            device=self.config.device,
            threads=self.config.threads,
            max_latency_ms=self.config.max_latency_ms,
            latency_profile=self.config.latency_profile,
            reference_ms=tuple(round(value, 4) for value in references if math.isfinite(value)),
            seconds=round(time.monotonic() - self.began, 3),
            fingerprint=self.executor.fingerprint,
        )
        write_text(self.out / "report.json", to_json(report) + "\n")
        write_text(self.out / "pareto.json", to_json(report.pareto) + "\n")
        for point in report.pareto:
            name = f"front/{point.digest}.json"
            claim_in_study(self.out, name)
            write_text(self.out / name, to_json(seal(point.arch)) + "\n")
        zoo = {name: self.searcher.space.to_row(p) for name, p in self.space.zoo_points().items()}
        named = {
            name: trial.figures
            for name, row in zoo.items()
            for trial in trials
            if self.searcher.space.to_row(trial.point) == row
        }
        everything = [trial.figures for trial in trials]
        volumes = volumes_of(self.config, trials)
        write_text(self.out / "pareto.html", render_search(report, everything, named, volumes))
        return report

    def _pareto_point(self, trial: CompletedTrial) -> ParetoPoint:
        spec, figures = self.space.to_arch(trial.point), trial.figures
        trained = self.out / "runs" / spec.digest / "best.safetensors"
        found = self.delivered.get(spec.digest)
        ap = figures["ap"] if found is None else found.value
        return ParetoPoint(
            name=spec.name,
            arch=to_plain(spec),
            digest=spec.digest,
            ap=None if math.isnan(ap) else ap,
            score=figures["score"],
            latency_ms=figures["latency_ms"],
            measured=not figures["latency_error"],
            latency_error=figures["latency_error"],
            parameters=int(figures["parameters"]),
            macs=int(figures["macs"]),
            checkpoint=found.checkpoint if found else str(trained) if trained.is_file() else "",
        )


def run_search(
    config: SearchConfig,
    out: Path,
    *,
    resume: bool,
    force: bool,
    callbacks: SearchCallbacks,
    measured: Path | None = None,
) -> SearchReport | None:
    """Searches in the folder `out`, where `resume` continues an earlier search.

    None in all processes of a run but the first (see `train.ranks`): they train with it.

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
    if ranks.is_shared() and config.evaluator != "supernet":
        raise UsageError(
            f"{ranks.world()} processes of torchrun can share the training of --evaluator supernet,"
            f" not {config.evaluator}",
            hint="--ray spreads the candidates of a search over a cluster",
        )
    if not ranks.is_first():
        help_train_supernet(config, space, out, callbacks.stop)
        return None
    with locked_folder(out) as killed:
        resume = goes_on(out, config, resume=resume, force=force, killed=killed)
        if killed:
            callbacks.log(killed_note(killed))
        callbacks.log(
            f"space {space.name} ({space.digest}): {len(space.knobs)} knobs, {space.size:.3g}"
            f" architectures; {config.searcher}, {evaluator_name(config)}, {config.objective}"
        )
        return _search(config, space, out, callbacks, resume=resume, measured=measured_front)


def _search(
    config: SearchConfig,
    space: SearchSpace,
    out: Path,
    callbacks: SearchCallbacks,
    *,
    resume: bool,
    measured: MeasuredFront | None,
) -> SearchReport:
    """Searches in a folder that is locked and ready."""
    evaluator = make_evaluator(config, out, callbacks.stop)
    with contextlib.closing(make_executor(config, out, callbacks, evaluator)) as executor:
        study = Study(
            config, space, out, callbacks, evaluator=evaluator, executor=executor, resume=resume
        )
        with contextlib.closing(study.journal):
            write_text(out / CONFIG, to_toml(config))
            if measured:
                taken = apply_measured(study.journal, space, measured)
                callbacks.log(f"{taken} predicted latencies replaced by measured ones")
            return study.run()


def make_executor(
    config: SearchConfig, out: Path, callbacks: SearchCallbacks, evaluator: Evaluator
) -> Executor:
    """Makes the executor: this process, or the Ray cluster that the settings name.

    Raises:
        UsageError: no address, or a precision that the engine does not compute in.
        BackendError: Ray, or the cluster, is not there.
    """
    if not config.ray.address:
        return LocalExecutor(config, evaluator)
    connect: Callable[..., Executor] = import_function(
        "ray", "detkit.search.cluster.ray:RayExecutor"
    )
    return connect(config, out, evaluator=evaluator, log=callbacks.log)


def space_of(config: SearchConfig) -> SearchSpace:
    """The space for the classes of the data and the image size asked for."""
    classes = config.classes
    if config.data:
        classes = len(read_classes(Path(config.data)).names)
    size = parse_image_size(config.imgsz) if config.imgsz else None
    return find_space(config.space).for_task(classes, size)
