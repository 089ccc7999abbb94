"""YOLO-NAS checkpoints of super-gradients: which tensors count, which network, which input.

Facts from super-gradients 3.7.1 (Apache-2.0): a trainer's file holds `net` and `ema_net` (the EMA
copy is the one that was validated), DataParallel prefixes names with `module.`, and every
re-parameterizable block stores an unused random `rbr_reparam` beside its branches. Fine-tuned
networks may expect BGR or 0..255 input, as their `processing_params` say; both are linear, so they
are folded into the stem and every detkit artifact takes RGB in 0..1.

A file does not say whose training it holds. The published weights and what is fine-tuned from them
are non-commercial (super-gradients' LICENSE.YOLONAS.md, issues 894 and 1174); training from scratch
is free (issue 983). So a file counts as the former unless its owner says otherwise.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from detkit.core.errors import ArtifactError
from detkit.importing.imported import (
    CLASS_PREDICTOR,
    Imported,
    assumed_class_names,
    find_state_dict,
    recognise,
)
from detkit.importing.pickle_machine import InertObject
from detkit.spec.preprocess import Preprocess

PUBLISHED_LICENCE = "YOLO-NAS weights licence of Deci (non-commercial)"
PUBLISHED_WARNING = (
    "the published YOLO-NAS weights (Deci) are for non-commercial use only, and weights fine-tuned"
    f" from them inherit that; recorded: '{PUBLISHED_LICENCE}'. If these were trained from scratch,"
    " --licence TEXT states what they are under"
)
PUBLISHED = Preprocess(size=(640, 640), fit=(636, 636))
MAX_NODES = 8  # one in the other; a container of omegaconf has two
STEM_KERNELS = (
    "backbone.stem.conv.branch_3x3.conv.weight",
    "backbone.stem.conv.branch_1x1.weight",
)


@dataclass(frozen=True)
class _Input:
    """What the network expects to be fed."""

    preprocess: Preprocess = PUBLISHED
    bgr: bool = False
    scaled: bool = True  # 0..1 rather than 0..255


def is_yolo_nas(saved: Any) -> bool:
    """Whether a checkpoint holds the tensors of a YOLO-NAS."""
    return _find_tensors(saved) is not None


def parse_yolo_nas(saved: Any) -> Imported:
    """Reads a super-gradients checkpoint as loaded by `unpickle.read_checkpoint`.

    Raises:
        ArtifactError: no YOLO-NAS state dict in it, an unknown width, or an input it cannot serve.
    """
    found = _find_tensors(saved)
    if found is None:
        raise ArtifactError(f"no YOLO-NAS weights in it (no {CLASS_PREDICTOR})")
    tensors, source = found
    tensors, ignored = _drop_placeholders(tensors)
    spec = recognise(tensors, "yolo-nas")
    params = _content(saved.get("processing_params")) if isinstance(saved, Mapping) else None
    params = params if isinstance(params, Mapping) else {}
    wanted = _read_input(params)
    names, names_from = _class_names(params, spec.num_classes)
    notes = {
        "weights": source,
        "ignored_placeholders": str(ignored),
        "class_names": names_from,
        "preprocess": "from the checkpoint" if params else "assumed as published",
    }
    if wanted.bgr or not wanted.scaled:
        notes["folded_into_stem"] = " and ".join(
            ["BGR order"] * wanted.bgr + ["0..255 scale"] * (not wanted.scaled)
        )
    return Imported(
        spec=dataclasses.replace(spec, image_size=wanted.preprocess.size),
        tensors=_fold_input(tensors, wanted),
        class_names=names,
        preprocess=wanted.preprocess,
        notes=notes,
        source="a YOLO-NAS checkpoint of super-gradients",
        licence=PUBLISHED_LICENCE,
        licence_warning=PUBLISHED_WARNING,
    )


def _find_tensors(saved: Any) -> tuple[dict[str, Tensor], str] | None:
    """The EMA copy, else the network, else a bare state dict, and its key; or None."""
    return find_state_dict(saved, ("ema_net", "net", "state_dict"), CLASS_PREDICTOR)


def _drop_placeholders(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], int]:
    """Leaves out the `rbr_reparam` that lie unused beside trained branches; and their number."""
    marker = ".rbr_reparam."
    placeholders = {name for name in tensors if marker in name}
    for name in placeholders:
        if name.split(marker)[0] + ".branch_3x3.conv.weight" not in tensors:
            raise ArtifactError(
                "its blocks are already fused, the branches are gone",
                hint="import the checkpoint from before fusion",
            )
    return {n: t for n, t in tensors.items() if n not in placeholders}, len(placeholders)


def _class_names(params: Mapping[str, Any], num_classes: int) -> tuple[tuple[str, ...], str]:
    names = _content(params.get("class_names"))
    if isinstance(names, (list, tuple)) and len(names) == num_classes:
        # half a surrogate pair cannot be written as UTF-8
        texts = [name for name in map(_content, names) if isinstance(name, str)]
        known = [text.encode("utf-8", "replace").decode() for text in texts]
        if len(known) == num_classes:
            return tuple(known), "from the checkpoint"
    return assumed_class_names(num_classes)


def _read_input(params: Mapping[str, Any]) -> _Input:
    """The input the stored processing chain produces; the published one where none is stored."""
    processor = _content(params.get("image_processor"))
    if not isinstance(processor, Mapping):
        return _Input()
    chain = _content(processor.get("ComposeProcessing", processor))
    steps = _content(chain.get("processings", [])) if isinstance(chain, Mapping) else None
    if not isinstance(steps, (list, tuple)):
        raise ArtifactError("its preprocessing is not understood: it is no list of steps")
    size: tuple[int, int] | None = None
    fit, pad_value, pad_place, reversals, scaled = PUBLISHED.fit, 114, "center", 0, False
    for step in steps:
        name, options = _step(step)
        if name == "ReverseImageChannels":
            reversals += 1
        elif name in ("DetectionLongestMaxSizeRescale", "SegmentationRescale"):
            fit = _sides(name, options)
        elif name in ("DetectionCenterPadding", "DetectionBottomRightPadding"):
            size, pad_value = _sides(name, options), int(_number(name, options, "pad_value", None))
            pad_place = "center" if name == "DetectionCenterPadding" else "corner"
        elif name == "StandardizeImage":
            scaled = _number(name, options, "max_value", 255.0) == 255.0
        elif name != "ImagePermute":
            raise ArtifactError(f"its preprocessing step {name[:40]} is not supported")
    # predict() loads RGB, so the network sees BGR after an odd number of reversals
    preprocess = Preprocess(size=size or fit, fit=fit, pad_value=pad_value, pad_place=pad_place)
    return _Input(preprocess, bgr=reversals % 2 == 1, scaled=scaled)


def _step(step: Any) -> tuple[str, Mapping[str, Any]]:
    """A stored processing step: a name, or a mapping of one name to its options."""
    step = _content(step)
    if isinstance(step, str):
        return step, {}
    if isinstance(step, Mapping) and len(step) == 1:
        name, options = next(iter(step.items()))
        options = _content(options)
        if isinstance(name, str):
            return name, options if isinstance(options, Mapping) else {}
    raise ArtifactError("its preprocessing has a step that is not understood: no name with options")


def _sides(name: str, options: Mapping[str, Any]) -> tuple[int, int]:
    """The height and width that a step makes."""
    value = _content(options.get("output_shape"))
    sides = [_content(side) for side in value] if isinstance(value, (list, tuple)) else []
    if len(sides) != 2 or not all(isinstance(side, int) for side in sides):
        raise ArtifactError(f"its preprocessing step {name} has no output_shape of two numbers")
    return sides[0], sides[1]


def _number(name: str, options: Mapping[str, Any], key: str, default: float | None) -> float:
    """The option `key` of a step, or else the `default`; None is that there must be one."""
    value = _content(options.get(key, default))
    if not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ArtifactError(f"its preprocessing step {name} has no number {key}")
    return value


def _content(value: Any) -> Any:
    """What a node of an omegaconf container holds: its own level alone, for levels may repeat."""
    for _ in range(MAX_NODES):
        if not isinstance(value, InertObject):
            break
        state = value.state if isinstance(value.state, Mapping) else {}
        value = state.get("_content", state.get("_val"))
    return value


def _fold_input(tensors: dict[str, Tensor], wanted: _Input) -> dict[str, Tensor]:
    """The stem rewritten so that RGB in 0..1 gives what the network's own input gave; exact."""
    folded = dict(tensors)
    for name in STEM_KERNELS:
        kernel = folded[name]
        if wanted.bgr:
            kernel = kernel[:, torch.tensor([2, 1, 0])]
        if not wanted.scaled:
            kernel = kernel * 255.0
        folded[name] = kernel.contiguous()
    return folded
