"""Training the shared weights of a space: every step teaches the largest network and some slices.

First the largest network learns alone, which costs a quarter a step and gives its slices a start
(Cai et al., Once-for-All, ICLR 2020, arXiv 1908.09791). Then the sandwich rule and in-place
distillation (Yu et al., BigNAS, ECCV 2020, arXiv 2003.11142): a step trains the largest network,
random ones and the smallest; gradients are summed. Which anchor points answer for which ground
truth is decided once, by the largest network. A slice learns from the boxes and from what the
largest network says. All else is the ordinary training (see `train.loop`), and so is its run
folder: `last.safetensors` is a checkpoint of the largest network and holds all others.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from detkit.artifact.artifact import Parent, write_text
from detkit.config import SearchConfig, SupernetConfig, TrainConfig
from detkit.core.errors import UsageError
from detkit.core.serialization import from_json
from detkit.data.coco.folder import CocoSplit
from detkit.nn.checkpoint import new_detector
from detkit.nn.detector import Detector
from detkit.nn.supernet.elastic import Elastic, require_elastic
from detkit.pages.run_page import render_run
from detkit.report import Figures, TrainReport
from detkit.search.scoring.recalibrate import plain_batches, recalibrate
from detkit.search.strategies.grid import Grid
from detkit.spec.arch import ArchSpec
from detkit.spec.preprocess import Preprocess
from detkit.spec.space import SearchSpace
from detkit.train.assign import Assignment
from detkit.train.distill import distance_divergence, score_divergence
from detkit.train.loop import STATE, StopSignal, Trainer
from detkit.train.loss import DetectionLoss, LossParts
from detkit.train.progress import Progress
from detkit.train.setup import TrainSetup, first_weights, open_splits

FOLDER = "supernet"
WEIGHTS = "last.safetensors"
DISTILL_CLS, DISTILL_BOX = 1.0, 1.0  # weights of the largest network's opinion


class SandwichTrainer(Trainer):
    """An ordinary run on the largest network, whose steps teach slices of it too."""

    def __init__(
        self,
        config: TrainConfig,
        job: TrainSetup,
        out: Path,
        *,
        space: SearchSpace,
        sharing: SupernetConfig,
        notify: Callable[[Progress], None],
        interruption: StopSignal,
    ) -> None:
        super().__init__(config, job, out, notify=notify, interruption=interruption)
        self.space, self.sharing = space, sharing
        self.epochs_alone = round(sharing.largest_first * config.epochs)
        self.grid, self.elastic = Grid(space.knobs), Elastic(self.model)
        self.losses_at: dict[tuple[int, int], DetectionLoss] = {}

    def learn(self, images: Tensor, targets_n6: Tensor) -> LossParts:
        """One sandwich at one image size of the space; returns the largest network's loss."""
        rng = np.random.default_rng([self.config.seed, self.place.epoch, self.place.batch])
        sizes = image_sizes(self.space)
        images, targets_n6 = resized(images, targets_n6, sizes[int(rng.integers(len(sizes)))])
        loss = self._loss_at((images.shape[2], images.shape[3]))
        with self._autocast():
            logits, distances = self.model(images)
        assignment = loss.assign(logits, distances, targets_n6)
        parts = loss.given(assignment, logits, distances)
        self._backward(parts.total)
        teacher = logits.detach().float(), distances.detach().float()
        for spec in self._slices(rng):
            with self._autocast():
                logits, distances = self.elastic(images, spec)
            own = loss.given(assignment, logits, distances).total
            self._backward(own + distillation_loss(assignment, logits, distances, teacher))
        return parts

    def _slices(self, rng: np.random.Generator) -> Iterator[ArchSpec]:
        """Random networks, then the smallest; none while the largest one learns alone."""
        if self.place.epoch < self.epochs_alone:
            return
        for row in self.grid.sample(self.sharing.random_nets, rng):
            yield self.space.to_arch(self.grid.to_point(row))
        yield self.space.to_arch(self.space.smallest_point())

    def _validate(self) -> Figures:
        """Those of the largest network; what is saved then has the statistics it is scored with."""
        size, records = self.model.spec.image_size, self.job.train.records
        count, batch = self.sharing.recalibration_batches, self.config.batch
        recalibrate(self.ema.model, plain_batches(records, size, count=count, batch=batch))
        return super()._validate()

    def _backward(self, loss: Tensor) -> None:
        (loss / self.config.optim.accumulate).backward()  # type: ignore[no-untyped-call]

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.amp)

    def _loss_at(self, size: tuple[int, int]) -> DetectionLoss:
        if size not in self.losses_at:
            self.losses_at[size] = DetectionLoss(self.config.loss, size).to(self.device)
        return self.losses_at[size]


def distillation_loss(
    assignment: Assignment, logits: Tensor, distances: Tensor, teacher: tuple[Tensor, Tensor]
) -> Tensor:
    """Cross-entropy to the teacher's class scores, KL to its distances at the positives."""
    strength_ba = assignment.scores_bac.sum(dim=-1)
    norm = strength_ba.sum().clamp(min=1)
    cls = score_divergence(logits.float(), teacher[0]).sum()
    box = (distance_divergence(distances.float(), teacher[1]) * strength_ba).sum()
    total: Tensor = (DISTILL_CLS * cls + DISTILL_BOX * box) / norm
    return total


def image_sizes(space: SearchSpace) -> list[tuple[int, int]]:
    """Every (height, width) that a network of the space may have."""
    sizes = space.knobs.get("image_size", (space.base.image_size,))
    return [(size[0], size[1]) for size in sizes if isinstance(size, tuple)]


def resized(images: Tensor, targets_n6: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """A batch at another size, its boxes along with it."""
    height, width = images.shape[2:]
    if (height, width) == size:
        return images, targets_n6
    images = F.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False)
    scale = targets_n6.new_tensor([1, 1, *(size[1] / width, size[0] / height) * 2])
    return images.contiguous(memory_format=torch.channels_last), targets_n6 * scale


# --- a run of it ---------------------------------------------------------------------------------


def train_supernet(
    config: SearchConfig,
    space: SearchSpace,
    out: Path,
    *,
    log: Callable[[str], None],
    interruption: StopSignal,
) -> bool:
    """Trains in the folder `supernet` of a study, from where it was; False when interrupted.

    Raises:
        UsageError: a space that cannot share weights, or an `init` that is not within it.
        DataError, TrainingError: see `train.loop`.
    """
    require_elastic(space)
    folder = out / FOLDER
    settings = training_config(config, space)
    job = supernet_job(config, settings, space)
    resume = (folder / STATE).is_file()
    if not resume:
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    spec, sharing = job.model.spec, config.supernet
    for note in job.notes:
        log(note)
    log(
        f"supernet: {settings.epochs} epochs of {len(job.train.records)} images; largest network"
        f" {job.costs['parameters'] / 1e6:.2f} M parameters and {job.costs['macs'] / 1e9:.2f} GMACs"
        f" deployed at {spec.image_size[0]}x{spec.image_size[1]}, {sharing.random_nets + 1} slices"
        f" of it a step after {sharing.largest_first:.0%} of the epochs"
    )

    def told(progress: Progress) -> None:
        if progress.ap is not None:
            log(f"supernet {progress.line()}, largest network")

    trainer = SandwichTrainer(
        settings,
        job,
        folder,
        space=space,
        sharing=sharing,
        notify=told,
        interruption=interruption,
    )
    report = trainer.run(resume=resume)
    write_text(folder / "report.html", render_run(folder))
    return report.stopped_by != "signal"


def is_trained(out: Path) -> bool:
    """Whether a supernet lies in a study's folder whose training came to its end."""
    report = out / FOLDER / "report.json"
    if not report.is_file():
        return False
    return from_json(TrainReport, report.read_text(encoding="utf-8")).stopped_by != "signal"


def training_config(config: SearchConfig, space: SearchSpace) -> TrainConfig:
    """The settings of the supernet's run."""
    height, width = space.largest_arch().image_size
    return dataclasses.replace(
        config.train,
        data=config.data,
        model="",
        init=config.supernet.init,
        imgsz=f"{height}x{width}",
        epochs=config.supernet.epochs,
        seed=config.seed,
    )


def supernet_job(config: SearchConfig, settings: TrainConfig, space: SearchSpace) -> TrainSetup:
    """The data, and the largest network with the weights of `init` in its place."""
    folder = open_splits(settings)
    train = learning_part(config, folder.splits["train"])
    whole = new_detector(space.largest_arch(), settings.seed)
    parents: tuple[Parent, ...] = ()
    notes: tuple[str, ...] = ()
    if settings.init:
        part, parents, notes = first_weights(settings, train.class_names)
        warm_start(whole, part, settings.init)
    size = whole.spec.image_size
    return TrainSetup(
        folder=folder,
        train=train,
        val=folder.splits["val"],
        model=whole,
        preprocess=Preprocess(size=size, fit=size),
        parents=parents,
        notes=notes,
    )


def warm_start(whole: Detector, part: Detector, name: str) -> None:
    """Raises UsageError where the checkpoint's network is no slice of the largest one."""
    try:
        Elastic(whole).load_subnet(part)
    except UsageError as error:
        raise UsageError(
            f"{name}: {error}", hint="start from a network of the space: detkit info tells its arch"
        ) from error


def learning_part(config: SearchConfig, train: CocoSplit) -> CocoSplit:
    """What the weights learn from: every second image where the searcher needs the others."""
    records = train.records[::2] if config.searcher == "gradient" else train.records
    return dataclasses.replace(train, records=records)


def held_out_part(train: CocoSplit) -> CocoSplit:
    """What the searcher `gradient` learns from: the images that the weights did not see."""
    return dataclasses.replace(train, records=train.records[1::2] or train.records)
