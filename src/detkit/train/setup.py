"""What a run trains: the data as checked, the architecture, the first weights."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from detkit.artifact.artifact import Manifest, Parent, command_line, parent_of, versions
from detkit.config import TrainConfig
from detkit.core.errors import ArtifactError, DataError, UsageError
from detkit.data.coco.folder import CocoFolder, CocoSplit, open_folder, require_usable
from detkit.engines import TRAINING
from detkit.nn.checkpoint import input_output, load_checkpoint, new_detector
from detkit.nn.detector import Detector, cost_metrics
from detkit.spec.arch import ArchSpec, parse_image_size
from detkit.spec.preprocess import Preprocess
from detkit.spec.quant import QuantSpec
from detkit.spec.space import same_network
from detkit.spec.zoo import find_arch, with_task
from detkit.train.teacher import DenseTeacher, prepare_lesson

DEFAULT_MODEL = "yolo-nas-s"


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
    form: str = "training"
    quant: QuantSpec | None = None

    @functools.cached_property
    def costs(self) -> dict[str, float]:
        """Parameters and multiply-adds; counted once, as it takes longer than saving."""
        return cost_metrics(self.model.spec)

    def manifest(self, config: TrainConfig, metrics: dict[str, float]) -> Manifest:
        """The manifest of a checkpoint of this run."""
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
            versions=versions(TRAINING.package, "numpy", "pillow"),
            metrics={**self.costs, **metrics},
        )


def build_setup(config: TrainConfig) -> TrainSetup:
    """Checks the folder, builds the network and loads what it starts from.

    Raises:
        DataError: no folder, no train or val split, or too much of it unusable.
        UsageError: an unknown model, or one that contradicts `init`.
    """
    folder = open_splits(config)
    model, parents, notes = first_weights(config, folder.splits["train"].class_names)
    freeze(model, config.freeze)
    lesson = prepare_lesson(config, folder, model)
    train = lesson.folder.splits["train"]
    if not any(len(record.classes) for record in train.records):
        raise DataError(f"{config.data}: the train split has no boxes to learn from")
    return TrainSetup(
        folder=folder,
        train=train,
        val=lesson.folder.splits["val"],
        model=model,
        preprocess=Preprocess.filling(model.spec.image_size),
        parents=parents,
        notes=(*notes, *lesson.notes),
        teacher=lesson.dense,
    )


def open_splits(config: TrainConfig) -> CocoFolder:
    """Opens the folder and checks its train and val splits.

    Raises:
        DataError: no folder, a split that is missing, or too much unusable.
    """
    folder = open_folder(Path(config.data), files=named_files(config), splits=("train", "val"))
    require_usable(folder, max_dropped_share=config.max_dropped)
    for name in ("train", "val"):
        if name not in folder.splits:
            raise DataError(f"{config.data} has no {name} split", hint="detkit data check DIR")
    return folder


def named_files(config: TrainConfig) -> dict[str, tuple[Path, Path]]:
    """Annotation file and image folder of each split, where the user named them."""
    if not config.train_json:
        return {}
    return {
        "train": (Path(config.train_json), Path(config.train_images)),
        "val": (Path(config.val_json), Path(config.val_images)),
    }


def frozen_parts(model: Detector, freeze: str) -> list[nn.Module]:
    """The modules named by `--freeze`; they also keep their batch-norm statistics."""
    parts = {"backbone": model.backbone, "neck": model.neck}
    return [parts[name] for name in freeze.split("+") if name]


def freeze(model: Detector, parts: str) -> None:
    for part in frozen_parts(model, parts):
        part.requires_grad_(False)


def first_weights(
    config: TrainConfig, class_names: tuple[str, ...]
) -> tuple[Detector, tuple[Parent, ...], tuple[str, ...]]:
    """Makes fresh weights, or loads those of `init` with new class predictors for new classes."""
    if not config.init:
        spec = _task_spec(find_arch(config.model or DEFAULT_MODEL), config, class_names)
        return new_detector(spec, config.seed), (), ()
    path = Path(config.init)
    parent, manifest = load_checkpoint(path)
    if manifest.form != "training":
        raise ArtifactError(
            f"{path} is fused and cannot be trained",
            hint="start from the checkpoint before reparam",
        )
    if config.model and not same_network(find_arch(config.model), parent.spec):
        raise UsageError(
            f"model '{config.model}' is not the network of {path} ({parent.spec.name})",
            hint="leave the model out: it is taken from the checkpoint",
        )
    spec = _task_spec(parent.spec, config, class_names)
    model = new_detector(spec, config.seed)
    kept = transfer(parent, manifest.class_names, model, class_names)
    note = f"weights of {path.name}; {kept} of {len(class_names)} classes known to it"
    return model, (parent_of(path),), (note,)


def _task_spec(spec: ArchSpec, config: TrainConfig, class_names: tuple[str, ...]) -> ArchSpec:
    size = parse_image_size(config.imgsz) if config.imgsz else spec.image_size
    return with_task(spec, len(class_names), size)


@torch.no_grad()
def transfer(
    parent: Detector, parent_names: tuple[str, ...], model: Detector, names: tuple[str, ...]
) -> int:
    """Copies all weights; class predictors row by row for the classes both know by name.

    Returns how many classes were carried over; the others keep their fresh rows.
    """
    rows = [(i, parent_names.index(name)) for i, name in enumerate(names) if name in parent_names]
    mine, theirs = [i for i, _ in rows], [j for _, j in rows]
    source: dict[str, Tensor] = parent.state_dict()
    for name, tensor in model.state_dict().items():
        if ".cls_pred." in name:
            tensor[mine] = source[name][theirs]
        else:
            tensor.copy_(source[name])
    return len(rows)
