"""What a file of another tool is read into, and what reading takes whichever tool made it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from detkit.core.errors import ArtifactError
from detkit.nn.detector import build_detector
from detkit.spec.arch import ArchSpec
from detkit.spec.coco_names import COCO_NAMES
from detkit.spec.preprocess import Preprocess
from detkit.spec.zoo import ZOO

CLASS_PREDICTOR = "heads.head1.cls_pred.weight"  # (C, width, 1, 1) in every family


@dataclass(frozen=True, kw_only=True)
class Imported:
    """A checkpoint of another tool, as read: weights by our names, and the input they expect.

    `licence` is what the weights are under unless their owner says otherwise; `licence_warning` is
    what to say of it then.
    """

    spec: ArchSpec
    tensors: dict[str, Tensor]
    class_names: tuple[str, ...]
    preprocess: Preprocess
    notes: dict[str, str]
    source: str  # what kind of file it was, in words
    licence: str
    licence_warning: str = ""


def find_state_dict(
    saved: Any, keys: Sequence[str], mark: str
) -> tuple[dict[str, Tensor], str] | None:
    """The first state dict that holds the tensor `mark`, without DataParallel's `module.`.

    Returns it with the key it lay under; None where there is none.

    Args:
        saved: what a trainer saved, as loaded by `unpickle.read_checkpoint`.
        keys: where to look, best first; last of all `saved` itself may be one.
    """
    for key in (*keys, ""):
        found = saved.get(key) if key and isinstance(saved, Mapping) else saved
        if not isinstance(found, Mapping):
            continue
        tensors = {str(n): t for n, t in found.items() if isinstance(t, Tensor)}
        if all(name.startswith("module.") for name in tensors):
            tensors = {n.removeprefix("module."): t for n, t in tensors.items()}
        if mark in tensors:
            return tensors, key or "state dict"
    return None


def recognise(tensors: Mapping[str, Tensor], family: str) -> ArchSpec:
    """The named architecture of a family with exactly these names and shapes.

    Raises:
        ArtifactError: there is none.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    num_classes = max(shapes.get(CLASS_PREDICTOR, (0,))[0], 1)
    for named in members(family):
        spec = dataclasses.replace(named, num_classes=num_classes)
        wanted = build_detector(spec, "training").state_dict()
        if shapes == {name: tuple(tensor.shape) for name, tensor in wanted.items()}:
            return spec
    raise unknown_architecture(
        f"its {len(shapes)} tensors", family, hint="only unmodified architectures can be imported"
    )


def members(family: str) -> list[ArchSpec]:
    """The named architectures of a family."""
    return [spec for spec in ZOO.values() if spec.family == family]


def unknown_architecture(what: str, family: str, *, hint: str) -> ArtifactError:
    """The error of a file whose weights are those of no named architecture of its family."""
    names = ", ".join(spec.name for spec in members(family))
    return ArtifactError(f"{what} are not those of {names}", hint=hint)


def assumed_class_names(num_classes: int) -> tuple[tuple[str, ...], str]:
    """Names for a file that has none, and where they are from: COCO's for 80, else numbered."""
    if num_classes == len(COCO_NAMES):
        return COCO_NAMES, "COCO's, assumed from the count of 80"
    return tuple(f"class{index}" for index in range(num_classes)), "numbered, the file has none"
