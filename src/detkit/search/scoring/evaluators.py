"""What scores an architecture: no training, a short one of its own, or weights that all share.

`EVALUATORS` is the plug-in table.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from detkit.artifact.artifact import read_manifest
from detkit.artifact.writing import write_bytes, write_text
from detkit.config import AUTO_INIT, NO_INIT, SearchConfig, TrainConfig
from detkit.core.content_digest import seal
from detkit.core.errors import NonFiniteError, TrainingError, UsageError
from detkit.core.reading import bytes_of
from detkit.core.serialization import to_json, to_plain
from detkit.nn.detector import Cost
from detkit.search.scoring.proxy import find_proxy
from detkit.search.scoring.relaxation import Costs, SupernetRelaxation
from detkit.search.scoring.study_folder import claim_in_study
from detkit.search.scoring.supernet import FOLDER, WEIGHTS, is_trained, train_supernet
from detkit.search.scoring.supernet_weights import SupernetWeights
from detkit.spec.arch import ArchSpec
from detkit.spec.space import SearchSpace
from detkit.train import ranks
from detkit.train.run import TrainRequest, run_training
from detkit.train.state import STATE
from detkit.train.stop import StopSignal


@dataclass(frozen=True, kw_only=True)
class Score:
    """The score of an architecture; `ap` and `checkpoint` only where a network was trained.

    `value` is NaN where scoring failed, and `failure` says why.
    """

    value: float
    ap: float | None = None
    checkpoint: str = ""
    failure: str = ""


class Evaluator(Protocol):
    """Scores architectures; higher is better."""

    def __call__(self, spec: ArchSpec, cost: Cost) -> Score | None:
        """Scores one architecture; None where a signal came before there was a score."""
        ...


@runtime_checkable
class SharingEvaluator(Evaluator, Protocol):
    """An evaluator with weights that all architectures of a space share."""

    def prepare(self, space: SearchSpace, log: Callable[[str], None]) -> bool:
        """Trains the shared weights unless they are there; False when interrupted."""
        ...

    def deliver(self, front: Sequence[ArchSpec]) -> dict[str, Score]:
        """Makes a checkpoint for each architecture; its digest -> AP and path."""
        ...

    def relax(self, space: SearchSpace, costs: Costs) -> SupernetRelaxation:
        """Makes the shared weights an objective that can be differentiated by a mixture."""
        ...

    def dump_weights(self) -> bytes:
        """Returns the shared weights, with which another evaluator scores as this one does."""
        ...

    def load_weights(self, dump_weights: bytes) -> None:
        """Takes these weights for all further scores; the folder is no longer needed."""
        ...


class ProxyEvaluator:
    """Scores a network by a figure that needs neither training nor data."""

    def __init__(self, config: SearchConfig, folder: Path, stop: StopSignal) -> None:
        del folder, stop
        self.proxy, self.seed = find_proxy(config.proxy), config.seed

    def __call__(self, spec: ArchSpec, cost: Cost) -> Score:
        return Score(value=self.proxy(spec, cost, self.seed))


class TrainEvaluator:
    """Scores by the best AP on the validation split in a few epochs from scratch.

    Every architecture has a run folder of its own, named by its digest; one that an earlier kill
    left half done is resumed. Starter weights would favour the architectures near their own, so
    none are taken.
    """

    def __init__(self, config: SearchConfig, folder: Path, stop: StopSignal) -> None:
        """Raises UsageError without data."""
        if not config.data:
            raise UsageError("the evaluator train needs a COCO folder", hint="detkit search DIR")
        self.config, self.study, self.stop = config, folder, stop
        self.folder = folder / "runs"

    def __call__(self, spec: ArchSpec, cost: Cost) -> Score | None:
        claim_in_study(self.study, f"runs/{spec.digest}.json", f"runs/{spec.digest}/")
        arch = (self.folder / spec.digest).with_suffix(".json")
        write_text(arch, to_json(seal(to_plain(spec))) + "\n")
        height, width = spec.image_size
        config = dataclasses.replace(
            self.config.train,
            data=self.config.data,
            model=str(arch),
            init=NO_INIT if self.config.train.init == AUTO_INIT else self.config.train.init,
            imgsz=f"{height}x{width}",
            epochs=self.config.epochs,
            seed=self.config.seed,
        )
        return train_one(config, self.folder / spec.digest, self.stop)


def train_one(config: TrainConfig, run: Path, stop: StopSignal) -> Score | None:
    """Trains in the folder `run`, resumed where it was stopped; None where a signal came."""
    resume = (run / STATE).is_file()
    try:
        report = run_training(
            config,
            run,
            TrainRequest(flags={}, resume=resume, force=not resume),
            dry_run=False,
            log=lambda _: None,
            on_progress=lambda _: None,
            stop=stop,
        )
    except (TrainingError, NonFiniteError) as error:
        return Score(value=math.nan, failure=str(error))
    assert report is not None
    if report.stopped_by == "signal":
        return None
    ap = report.ap
    return Score(value=math.nan if ap is None else ap, ap=ap, checkpoint=report.checkpoint)


def help_train_supernet(
    config: SearchConfig, space: SearchSpace, folder: Path, stop: StopSignal
) -> None:
    """What processes other than the first do of a search: their part of training the supernet."""
    if ranks.hear_first():
        train_supernet(config, space, folder, log=lambda _: None, stop=stop)
    ranks.leave()


class SupernetEvaluator:
    """Scores by AP on the validation split, with weights from a supernet (see `scoring.supernet`).

    The supernet is trained once, in the study's folder; a resumed study takes it from there.
    """

    def __init__(self, config: SearchConfig, folder: Path, stop: StopSignal) -> None:
        """Raises UsageError without data."""
        if not config.data:
            raise UsageError("the evaluator supernet needs a COCO folder", hint="detkit search DIR")
        self.config, self.folder, self.stop = config, folder, stop

    def prepare(self, space: SearchSpace, log: Callable[[str], None]) -> bool:
        if self.config.supernet.trained:
            self.weights.check(space)
            log(f"supernet: {self.config.supernet.trained}, as it is")
        is_there = bool(self.config.supernet.trained) or is_trained(self.folder)
        if ranks.tell_others(not is_there):
            is_there = train_supernet(self.config, space, self.folder, log=log, stop=self.stop)
        ranks.leave()  # a search is done by one process; Ray spreads it
        return is_there

    @property
    def weights_path(self) -> Path:
        trained = self.config.supernet.trained
        return Path(trained) if trained else self.folder / FOLDER / WEIGHTS

    @functools.cached_property
    def weights(self) -> SupernetWeights:
        return SupernetWeights(self.config, self.weights_path)

    def __call__(self, spec: ArchSpec, cost: Cost) -> Score:
        try:
            ap = self.weights.ap(self.weights.network(spec))
        except NonFiniteError as error:
            return Score(value=math.nan, failure=str(error))
        return Score(value=ap, ap=ap)

    def deliver(self, front: Sequence[ArchSpec]) -> dict[str, Score]:
        """Saves inherited weights, or fine-tuned ones where those are better."""
        delivered = {}
        for spec in front:
            score = self._inherited(spec)
            if self.config.supernet.fine_tune_epochs and not self.stop.signal:
                score = max(score, self._fine_tuned(spec, score), key=lambda one: one.value)
            delivered[spec.digest] = score
        return delivered

    def relax(self, space: SearchSpace, costs: Costs) -> SupernetRelaxation:
        return SupernetRelaxation(
            self.config,
            space,
            self.folder,
            open_weights=lambda: self.weights,
            costs=costs,
            stop=self.stop,
        )

    def dump_weights(self) -> bytes:
        return bytes_of(self.weights_path)

    def load_weights(self, dump_weights: bytes) -> None:
        path = self.folder / WEIGHTS
        write_bytes(path, dump_weights)
        self.weights = SupernetWeights(self.config, path)

    def _inherited(self, spec: ArchSpec) -> Score:
        run = self.folder / "runs" / spec.digest
        tuned = self.config.supernet.fine_tune_epochs > 0
        path = run.with_suffix(".inherited.safetensors") if tuned else run / "best.safetensors"
        if path.is_file():
            ap = read_manifest(path).metrics["ap"]
        else:
            model = self.weights.network(spec)
            ap = self.weights.ap(model)
            claim_in_study(self.folder, path.relative_to(self.folder).as_posix())
            self.weights.save(model, path, ap)
        return Score(value=ap, ap=ap, checkpoint=str(path))

    def _fine_tuned(self, spec: ArchSpec, inherited: Score) -> Score:
        """Fine-tunes; `inherited` again where the training was stopped or diverged."""
        config = dataclasses.replace(
            self.config.train,
            data=self.config.data,
            init=inherited.checkpoint,
            epochs=self.config.supernet.fine_tune_epochs,
            seed=self.config.seed,
        )
        claim_in_study(self.folder, f"runs/{spec.digest}/")
        tuned = train_one(config, self.folder / "runs" / spec.digest, self.stop)
        return inherited if tuned is None or math.isnan(tuned.value) else tuned


EVALUATORS: dict[str, Callable[[SearchConfig, Path, StopSignal], Evaluator]] = {
    "proxy": ProxyEvaluator,
    "train": TrainEvaluator,
    "supernet": SupernetEvaluator,
}


def make_evaluator(config: SearchConfig, folder: Path, stop: StopSignal) -> Evaluator:
    """Makes the evaluator that the settings name.

    Raises:
        UsageError: it lacks what it needs.
    """
    return EVALUATORS[config.evaluator](config, folder, stop)
