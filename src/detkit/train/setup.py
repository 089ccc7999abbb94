"""What a run trains: the data as checked, the network, and where its first weights come from."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from detkit.artifact.artifact import Manifest, Parent, command_line, versions
from detkit.artifact.licence import WeightsOrigin
from detkit.config import TrainConfig
from detkit.core.errors import DataError, UsageError
from detkit.data.coco.commands import convert_command
from detkit.data.coco.folder import (
    CocoFolder,
    CocoSplit,
    open_folder,
    require_usable,
    with_sizes_suspected,
)
from detkit.data.coco.selection import Selection, parse_class_names, select
from detkit.engines import TRAINING
from detkit.engines.torch.session import find_device
from detkit.nn.checkpoint import input_output
from detkit.nn.detector import Detector, cost_metrics
from detkit.spec.arch import STRIDES
from detkit.spec.class_scope import ALL_CLASSES, ClassScope
from detkit.spec.preprocess import Preprocess
from detkit.spec.quant import QuantSpec
from detkit.train.first_weights import FirstWeights, Lineage, first_weights, going_on
from detkit.train.teacher import DenseTeacher, prepare_lesson

EARLY_PARTS = ("stem", "stage1", "stage2")  # up to stride 8, in the backbone of every family


@dataclass(frozen=True, kw_only=True)
class TrainSetup:
    """Everything a run starts from. `model` holds the first weights."""

    folder: CocoFolder
    train: CocoSplit
    val: CocoSplit
    model: Detector
    preprocess: Preprocess
    parents: tuple[Parent, ...]
    notes: tuple[str, ...]
    teacher: DenseTeacher | None = None
    origin: WeightsOrigin
    start: FirstWeights | None = None  # None where a verb other than train made the weights
    class_scope: ClassScope = ALL_CLASSES
    form: str = "training"
    quant: QuantSpec | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """What nobody should overlook before the run begins."""
        suspicions = tuple(suspicion.line for suspicion in self.folder.report.suspicions)
        return (*suspicions, *(self.start.warnings if self.start else ()))

    @functools.cached_property
    def costs(self) -> dict[str, float]:
        """Parameters and multiply-adds; counted once, as it takes longer than saving."""
        return cost_metrics(self.model.spec)

    def manifest(
        self,
        config: TrainConfig,
        metrics: dict[str, float],
        score_thresholds: tuple[float, ...] = (),
    ) -> Manifest:
        """The manifest of a checkpoint of this run, with what its validation found."""
        spec = self.model.spec
        inputs, outputs = input_output(spec)
        return Manifest(
            kind="checkpoint",
            arch=spec,
            form=self.form,
            precision="fp32" if self.quant is None else "int8",
            quant=self.quant,
            class_names=self.train.class_names,
            preprocess=self.preprocess,
            inputs=inputs,
            outputs=outputs,
            parents=self.parents,
            command=command_line("train"),
            data=config.data,
            class_scope=self.class_scope,
            score_thresholds=score_thresholds,
            licence=self.origin.licence,
            weights_source=self.origin.source,
            versions=versions(TRAINING.package, "numpy", "pillow"),
            metrics={**self.costs, **metrics},
        )


def build_setup(config: TrainConfig, lineage: Lineage | None = None) -> TrainSetup:
    """Checks the folder, builds the network and loads what it starts from.

    Args:
        lineage: of a run that goes on; its first weights are not read again.

    Raises:
        DataError: no folder, no train or val split, or too much of it unusable.
        UsageError: an unknown model, or one that contradicts `init`.
        BackendError: no such device on this machine.
    """
    find_device(config.device)
    folder, selected = open_selected(config)
    class_names = folder.splits["train"].class_names
    start = going_on(lineage, config) if lineage else first_weights(config, class_names)
    freeze(start.model, config.freeze)
    lesson = prepare_lesson(config, folder, start.model)
    train = lesson.folder.splits["train"]
    _check_objects(config, folder, train)
    return TrainSetup(
        folder=with_sizes_suspected(folder, start.model.spec.image_size),
        train=train,
        val=lesson.folder.splits["val"],
        model=start.model,
        preprocess=Preprocess.filling(start.model.spec.image_size),
        parents=start.lineage.parents,
        notes=(*selected, *start.notes, *lesson.notes),
        class_scope=selection_of(config).class_scope,
        origin=start.lineage.origin,
        start=start,
        teacher=lesson.dense,
    )


def _check_objects(config: TrainConfig, folder: CocoFolder, train: CocoSplit) -> None:
    """Raises DataError where the train split has no boxes, or crowd regions alone."""
    crowds = sum(len(record.crowd) for record in train.records)
    if crowds and all(record.crowd.all() for record in train.records):
        raise DataError(
            f"{config.data}: the train split has no boxes to learn from: "
            f"all {crowds} are crowd regions (iscrowd 1)",
            hint=f"{convert_command(folder.root, folder.files)} --no-crowd -o NEW "
            "takes them as objects",
        )
    if not crowds:
        raise DataError(f"{config.data}: the train split has no boxes to learn from")


def open_splits(config: TrainConfig) -> CocoFolder:
    """Opens the folder, see `open_selected`."""
    return open_selected(config)[0]


def open_selected(config: TrainConfig) -> tuple[CocoFolder, tuple[str, ...]]:
    """Opens the train and val splits, checks them, and takes the part that the settings choose.

    With lines that say what was left out.

    Raises:
        DataError: no folder, a split that is missing, too much unusable, or nothing left.
        UsageError: a class that the data does not have.
    """
    folder = open_folder(Path(config.data), files=named_files(config), splits=("train", "val"))
    require_usable(folder, max_dropped_share=config.max_dropped)
    for name in ("train", "val"):
        if name not in folder.splits:
            raise DataError(f"{config.data} has no {name} split", hint="detkit data check DIR")
    return select(folder, selection_of(config))


def selection_of(config: TrainConfig) -> Selection:
    """The part of the folder that a run learns from."""
    return Selection(
        classes=parse_class_names(config.classes),
        other_images=config.other_images,
        single_class=config.single_cls,
        fraction=config.fraction,
        seed=config.seed,
    )


def named_files(config: TrainConfig) -> dict[str, tuple[Path, Path]]:
    """Annotation file and image folder of each split, where the user named them."""
    if not config.train_json:
        return {}
    return {
        "train": (Path(config.train_json), Path(config.train_images)),
        "val": (Path(config.val_json), Path(config.val_images)),
    }


def check_batch_norms(model: Detector, train: CocoSplit, batch: int, *, parts: int = 1) -> None:
    """Raises UsageError where batches leave batch-norms one value a channel: it has no variance.

    Args:
        parts: of a batch, that have statistics of their own.
    """
    height, width = model.spec.image_size
    images = min(batch, len(train.records)) // parts
    values = images * (height // STRIDES[-1]) * (width // STRIDES[-1])
    if values == 1 and any(isinstance(module, nn.BatchNorm2d) for module in model.modules()):
        more = f"--batch {2 * parts}" if len(train.records) > 1 else "more training images"
        raise UsageError(
            f"batches of one image of {height}x{width} leave batch-norms a single value",
            hint=f"{more}, or --imgsz {2 * STRIDES[-1]}",
        )


def frozen_parts(model: Detector, freeze: str) -> list[nn.Module]:
    """The modules named by `--freeze`; they also keep their batch-norm statistics."""
    backbone = model.backbone
    parts: dict[str, list[nn.Module]] = {
        "": [],
        "early": [backbone.get_submodule(name) for name in EARLY_PARTS],
        "backbone": [backbone],
        "backbone+neck": [backbone, model.neck],
    }
    return parts[freeze]


def freeze(model: Detector, parts: str) -> None:
    for part in frozen_parts(model, parts):
        part.requires_grad_(False)
