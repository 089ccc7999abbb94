"""The weights that a run begins with: fresh ones, a checkpoint's, or the starter weights.

`init` of the settings says which: none, a file, the name of starter weights, or auto, which takes
the starter weights of the same architecture or of a near one where there are any.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from detkit.artifact.artifact import Manifest, Parent, parent_of, read_manifest
from detkit.artifact.licence import FROM_SCRATCH, WeightsOrigin, inherit
from detkit.config import AUTO_INIT, NO_INIT, TrainConfig
from detkit.core.errors import ArtifactError, UsageError
from detkit.nn.checkpoint import load_checkpoint, new_detector
from detkit.nn.detector import Detector
from detkit.nn.transfer import overlap_of, transfer
from detkit.spec.arch import TRAINED_AS, ArchSpec, parse_image_size, trainable
from detkit.spec.space import same_network
from detkit.spec.zoo import ZOO, find_arch, with_task
from detkit.starter import starter_names, starter_path

DEFAULT_MODEL = "yolo-nas-s"
NEAR = 0.5  # share of the weights of two networks that both must have to be near enough


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """The network that a run's first weights are of, and where they come from.

    Kept in the state of the run, which goes on from its own weights: the first ones may be gone.
    `init` is the setting as resolved, never auto: with it a later run starts from the same.
    """

    arch: ArchSpec
    init: str
    origin: WeightsOrigin
    parents: tuple[Parent, ...] = ()
    weights_taken: float = 0.0  # share of the weights, class predictors aside
    classes_known: int = 0


@dataclass(frozen=True, kw_only=True)
class FirstWeights:
    """A network with its first weights, and what its user should read of them."""

    model: Detector
    lineage: Lineage
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def first_weights(config: TrainConfig, class_names: tuple[str, ...]) -> FirstWeights:
    """Makes fresh weights, or takes those of `init`, with class predictors by the names of classes.

    Raises:
        UsageError: no such starter weights, or a model that those of `init` are not for.
        ArtifactError: a checkpoint that cannot be read or trained.
    """
    if config.init in ("", NO_INIT):
        return _fresh(config, class_names)
    if config.init == AUTO_INIT:
        return _automatic(config, class_names)
    if config.init in ZOO:
        spec = _task_spec(find_arch(config.model or config.init), config, class_names)
        path = starter_path(config.init)
        if not _overlap(config.init, spec):
            raise UsageError(
                f"the starter weights {config.init} are not for {spec.name}: another wiring",
                hint="--init none trains from scratch",
            )
        return _from_starter(config.init, path, spec, config, class_names)
    return _from_file(Path(config.init), config, class_names)


def going_on(lineage: Lineage, config: TrainConfig) -> FirstWeights:
    """Makes the network of a run that goes on: its weights are in its state."""
    began = f", which began from {lineage.init}" if lineage.init != NO_INIT else ""
    return FirstWeights(
        model=new_detector(lineage.arch, config.seed),
        lineage=lineage,
        notes=(f"goes on from its own weights{began}",),
    )


def _fresh(
    config: TrainConfig, class_names: tuple[str, ...], notes: tuple[str, ...] = ()
) -> FirstWeights:
    asked = find_arch(config.model or DEFAULT_MODEL)
    if asked.family in TRAINED_AS:
        notes = (*notes, _head_note(asked))
    spec = _task_spec(asked, config, class_names)
    origin = WeightsOrigin(licence=config.licence, source=FROM_SCRATCH)
    return FirstWeights(
        model=new_detector(spec, config.seed),
        lineage=Lineage(arch=spec, init=NO_INIT, origin=origin),
        notes=notes,
    )


def _automatic(config: TrainConfig, class_names: tuple[str, ...]) -> FirstWeights:
    """Starts from the starter weights of the nearest architecture, if it is near enough."""
    spec = _task_spec(find_arch(config.model or DEFAULT_MODEL), config, class_names)
    overlaps = {name: _overlap(name, spec) for name in starter_names()}
    name = max(overlaps, key=lambda each: overlaps[each], default="")
    if not name or overlaps[name] < NEAR:
        return _fresh(config, class_names, (f"from scratch: no starter weights for {spec.name}",))
    return _from_starter(name, starter_path(name), spec, config, class_names)


def _overlap(name: str, spec: ArchSpec) -> float:
    return overlap_of(read_manifest(starter_path(name)).arch, spec)


def _from_starter(
    name: str, path: Path, spec: ArchSpec, config: TrainConfig, class_names: tuple[str, ...]
) -> FirstWeights:
    source, manifest = load_checkpoint(path)
    model = new_detector(spec, config.seed)
    taken = transfer(source, manifest.class_names, model, class_names)
    inherited = inherit(manifest.origin, name=f"{name} (starter)", stated=config.licence)
    near = "" if same_network(source.spec, spec) else ", the channels that both have"
    note = (
        f"starts from the starter weights {name} ({manifest.licence}){near}:"
        f" {_percent(taken.share)} of the weights, {len(class_names) - taken.classes} of"
        f" {len(class_names)} classes new"
    )
    return FirstWeights(
        model=model,
        lineage=Lineage(
            arch=spec,
            init=name,
            origin=inherited.origin,
            parents=(parent_of(path),),
            weights_taken=round(taken.share, 4),
            classes_known=taken.classes,
        ),
        notes=(note, *(inherited.notes if config.licence else ())),
        warnings=inherited.warnings,
    )


def _from_file(path: Path, config: TrainConfig, class_names: tuple[str, ...]) -> FirstWeights:
    parent, manifest = load_checkpoint(path)
    _check_trainable(path, manifest, config)
    model = new_detector(_task_spec(parent.spec, config, class_names), config.seed)
    taken = transfer(parent, manifest.class_names, model, class_names)
    inherited = inherit(manifest.origin, name=path.name, stated=config.licence)
    note = f"weights of {path.name}; {taken.classes} of {len(class_names)} classes known to it"
    if parent.spec.family in TRAINED_AS:
        note = f"weights of {path.name} but its predictors; {_head_note(parent.spec)}"
    return FirstWeights(
        model=model,
        lineage=Lineage(
            arch=model.spec,
            init=str(path),
            origin=inherited.origin,
            parents=(parent_of(path),),
            weights_taken=round(taken.share, 4),
            classes_known=taken.classes,
        ),
        notes=(note, *inherited.notes),
        warnings=inherited.warnings,
    )


def _check_trainable(path: Path, manifest: Manifest, config: TrainConfig) -> None:
    if manifest.form != "training":
        raise ArtifactError(
            f"{path} is fused and cannot be trained",
            hint="start from the checkpoint before reparam",
        )
    asked = find_arch(config.model) if config.model else manifest.arch
    if not same_network(trainable(asked), trainable(manifest.arch)):
        raise UsageError(
            f"model '{config.model}' is not the network of {path} ({manifest.arch.name})",
            hint="leave the model out: it is taken from the checkpoint",
        )


def _task_spec(spec: ArchSpec, config: TrainConfig, class_names: tuple[str, ...]) -> ArchSpec:
    size = parse_image_size(config.imgsz) if config.imgsz else spec.image_size
    return with_task(trainable(spec), len(class_names), size)


def _head_note(spec: ArchSpec) -> str:
    """What to say where the head of the network asked for is not the one that is trained."""
    return (
        f"{spec.name} is trained with detkit's head, as {trainable(spec).name}: the same"
        " convolutions, new predictors of classes and distances, no objectness"
    )


def _percent(share: float) -> str:
    """A share as a percentage that is 100 only where nothing is missing."""
    return "100 %" if share == 1 else f"{min(100 * share, 99.9):.1f} %"
