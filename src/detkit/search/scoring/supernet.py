"""Training the shared weights of a space: an ordinary run whose steps follow the sandwich rule.

What a step learns is in `search.scoring.sandwich`. All else is the ordinary training (see
`train.loop`), and so is its run folder: `last.safetensors` is a checkpoint of the largest network
and holds all others.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path

from detkit.artifact.artifact import Parent
from detkit.artifact.licence import FROM_SCRATCH, WeightsOrigin
from detkit.artifact.outputs import begin_folder
from detkit.artifact.writing import write_text
from detkit.config import NO_INIT, SearchConfig, TrainConfig
from detkit.core.errors import UsageError
from detkit.data.coco.folder import CocoSplit
from detkit.inspection.run_folder import read_json_file
from detkit.nn.checkpoint import new_detector
from detkit.nn.detector import Detector
from detkit.nn.supernet.elastic import Elastic, require_elastic
from detkit.pages.run_page import render_run
from detkit.report import TrainReport
from detkit.search.scoring.sandwich import SandwichStep
from detkit.search.scoring.study_folder import claim_in_study
from detkit.spec.preprocess import Preprocess
from detkit.spec.space import SearchSpace
from detkit.train import ranks
from detkit.train.first_weights import first_weights
from detkit.train.loop import Trainer, UserWords
from detkit.train.progress import TrainProgress
from detkit.train.run import RUN_FILES
from detkit.train.run import VERB as TRAIN_VERB
from detkit.train.setup import TrainSetup, open_splits, selection_of
from detkit.train.state import STATE
from detkit.train.stop import StopSignal

FOLDER = "supernet"
WEIGHTS = "last.safetensors"


def train_supernet(
    config: SearchConfig,
    space: SearchSpace,
    out: Path,
    *,
    log: Callable[[str], None],
    stop: StopSignal,
) -> bool:
    """Trains, or continues, in the folder `supernet` of a study; False where a signal came.

    Every process of a run calls it (see `train.ranks`).

    Raises:
        UsageError: a space that cannot share weights, or an `init` that is not within it.
        DataError, TrainingError: see `train.loop`.
    """
    require_elastic(space)
    folder = out / FOLDER
    settings = training_config(config, space)
    setup = supernet_setup(config, settings, space)
    if ranks.is_first():
        resume = ranks.tell_others((folder / STATE).is_file())
        claim_in_study(out, f"{FOLDER}/")
        begin_folder(folder, TRAIN_VERB, RUN_FILES, resume=resume)
    else:
        resume = ranks.hear_first()
    spec, sharing = setup.model.spec, config.supernet
    for note in setup.notes:
        log(note)
    log(
        f"supernet: {settings.epochs} epochs of {len(setup.train.records)} images; largest network"
        f" {setup.costs['parameters'] / 1e6:.2f} M parameters and"
        f" {setup.costs['macs'] / 1e9:.2f} GMACs deployed at"
        f" {spec.image_size[0]}x{spec.image_size[1]}, {sharing.random_nets + 1} subnets of it a"
        f" step after {sharing.largest_first:.0%} of the epochs"
    )

    def log_epoch(progress: TrainProgress) -> None:
        if progress.is_validated:
            log(f"supernet {progress.line()}, largest network")

    make_strategy = functools.partial(
        SandwichStep, space=space, settings=sharing, records=setup.train.records
    )
    trainer = Trainer(
        settings,
        setup,
        folder,
        on_progress=log_epoch,
        stop=stop,
        warn=lambda text: log(f"warning: {text}"),
        words=UserWords(lr="train.optim.lr", has_init=False),
        make_strategy=make_strategy,
        uses_all=False,
    )
    report = trainer.run(resume=resume)
    if ranks.is_first():
        write_text(folder / "report.html", render_run(folder))
    return report.stopped_by != "signal"


def is_trained(out: Path) -> bool:
    """Whether the folder of a study holds a supernet that is fully trained."""
    report = out / FOLDER / "report.json"
    if not report.is_file():
        return False
    _, found = read_json_file(report)
    return isinstance(found, TrainReport) and found.stopped_by != "signal"


def training_config(config: SearchConfig, space: SearchSpace) -> TrainConfig:
    """The settings of the supernet's run."""
    height, width = space.largest_arch().image_size
    return dataclasses.replace(
        config.train,
        data=config.data,
        model="",
        init=config.supernet.init or NO_INIT,
        imgsz=f"{height}x{width}",
        epochs=config.supernet.epochs,
        seed=config.seed,
        average_best=0,  # the mean of a supernet's weights is that of no subnet
    )


def supernet_setup(config: SearchConfig, settings: TrainConfig, space: SearchSpace) -> TrainSetup:
    """Opens the data, and makes the largest network with the weights of `init` in its subnet."""
    folder = open_splits(settings)
    train = learning_part(config, folder.splits["train"])
    supernet = new_detector(space.largest_arch(), settings.seed)
    parents: tuple[Parent, ...] = ()
    notes: tuple[str, ...] = ()
    origin = WeightsOrigin(licence=settings.licence, source=FROM_SCRATCH)
    if settings.init != NO_INIT:
        start = first_weights(settings, train.class_names)
        parents, origin = start.lineage.parents, start.lineage.origin
        notes = (*start.notes, *start.warnings)
        warm_start(supernet, start.model, settings.init)
    size = supernet.spec.image_size
    return TrainSetup(
        folder=folder,
        train=train,
        val=folder.splits["val"],
        model=supernet,
        preprocess=Preprocess.filling(size),
        parents=parents,
        notes=notes,
        origin=origin,
        class_scope=selection_of(settings).class_scope,
    )


def warm_start(supernet: Detector, subnet: Detector, name: str) -> None:
    """Raises UsageError where the checkpoint's network is no subnet of the largest one."""
    try:
        Elastic(supernet).load_subnet(subnet)
    except UsageError as error:
        raise UsageError(
            f"{name}: {error}",
            hint="start from a network of the space: detkit info shows its architecture",
        ) from error


def learning_part(config: SearchConfig, train: CocoSplit) -> CocoSplit:
    """The images that the weights learn from: every second where the searcher needs the others."""
    records = train.records[::2] if config.searcher == "gradient" else train.records
    return dataclasses.replace(train, records=records)


def held_out_part(train: CocoSplit) -> CocoSplit:
    """The images that the searcher `gradient` learns from: those that the weights did not see."""
    return dataclasses.replace(train, records=train.records[1::2] or train.records)
