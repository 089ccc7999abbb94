"""Which outputs of a graph have which role, and how the tensors of a role are laid side by side.

Legend: B batch, A anchor points or queries, N numbers of each.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from detkit.artifact.artifact import TensorInfo
from detkit.core.errors import ArtifactError, did_you_mean
from detkit.onnx_signature.onnx_graph import OnnxGraph
from detkit.onnx_signature.shapes import Shape, hint_at_presets
from detkit.spec.onnx_description import OutputSpec

RoleTensors = dict[str, tuple[TensorInfo, ...]]  # of each role one, or one for each stride
ROWS_FIRST, ROWS_LAST, MAP = "(B, A, N)", "(B, N, A)", "(B, N, H, W)"


def tensors_of(where: str, graph: OnnxGraph, spec: OutputSpec) -> RoleTensors:
    """The outputs of each role, by name where the description names it, else by order.

    Scores and labels in the other order are known by their types: some detectors of torchvision
    give the one first, some the other.

    Raises:
        ArtifactError: it is not there, or scores are whole numbers.
    """
    by_name = {tensor.name: tensor for tensor in graph.outputs}
    found: RoleTensors = {}
    for index, role in enumerate(spec.roles):
        if role in spec.names:
            name = spec.names[role]
            if name not in by_name:
                raise ArtifactError(
                    f"{where}: the graph has no output '{name}'", hint=did_you_mean(name, by_name)
                )
            found[role] = (by_name[name],)
        elif index < len(graph.outputs):
            found[role] = (*found.get(role, ()), graph.outputs[index])
        else:
            raise ArtifactError(
                f"{where}: the outputs are {', '.join(by_name) or 'none'}; expected"
                f" {len(spec.roles)}: {', '.join(spec.roles)}",
                hint=hint_at_presets(where),
            )
    return _told_apart(where, spec, found)


def _told_apart(where: str, spec: OutputSpec, found: RoleTensors) -> RoleTensors:
    """Exchanges scores and labels where their types say so; ArtifactError where that is no cure."""
    if "scores" not in found or not is_whole(found["scores"][0]):
        return found
    (scores, *_), labels = found["scores"], found.get("labels")
    hint = hint_at_presets(where)
    if labels and not is_whole(labels[0]):
        if {"scores", "labels"}.isdisjoint(spec.names):
            return {**found, "scores": labels, "labels": found["scores"]}
        hint = f'"names": {{"scores": "{labels[0].name}", "labels": "{scores.name}"}}'
    raise ArtifactError(
        f"{where}: output '{scores.name}' is {scores.dtype} and cannot be scores", hint=hint
    )


def is_whole(tensor: TensorInfo) -> bool:
    """Whether a tensor holds whole numbers."""
    return "int" in tensor.dtype


# --- side by side --------------------------------------------------------------------------------


def laid_out(
    spec: OutputSpec, tensors: Mapping[str, Sequence[TensorInfo]]
) -> dict[str, TensorInfo]:
    """One tensor a role: raw boxes and scores of all strides as (B, A, N), others as they are."""
    return {role: _one(spec, role, parts) for role, parts in tensors.items()}


def _one(spec: OutputSpec, role: str, parts: Sequence[TensorInfo]) -> TensorInfo:
    layouts = [layout_of(spec, role, part.shape) for part in parts]
    if len(parts) == 1 and layouts[0] == ROWS_FIRST:
        return parts[0]
    if not all(part.shape for part in parts):
        return TensorInfo(name=_names(parts), dtype=parts[0].dtype, shape=())
    shapes = [_rows_first(part.shape, layout) for part, layout in zip(parts, layouts, strict=True)]
    counts = [shape[1] for shape in shapes if isinstance(shape[1], int)]
    rows = sum(counts) if len(counts) == len(shapes) else "A"
    shape = (shapes[0][0], rows, *shapes[0][2:])
    return TensorInfo(name=_names(parts), dtype=parts[0].dtype, shape=shape)


def _names(parts: Sequence[TensorInfo]) -> str:
    return ", ".join(part.name for part in parts)


def layout_of(spec: OutputSpec, role: str, shape: Shape) -> str:
    """How a tensor of raw boxes or scores lies: one of `ROWS_FIRST`, `ROWS_LAST` and `MAP`.

    With `anchors_last` boxes are (B, A, 4) all the same where their shape says so.
    """
    if not spec.is_raw or role == "joint":
        return ROWS_FIRST
    if len(shape) == 4:
        return MAP
    if not spec.anchors_last or len(shape) != 3:
        return ROWS_FIRST
    has_boxes_last = role == "boxes" and shape[2] == spec.box_width
    return ROWS_FIRST if has_boxes_last else ROWS_LAST


def _rows_first(shape: Shape, layout: str) -> tuple[int | str, ...]:
    """The shape (B, A, N) of a tensor that lies as `layout`."""
    if layout == MAP:
        batch, numbers, *sides = shape
        whole = [side for side in sides if isinstance(side, int)]
        return batch, math.prod(whole) if len(whole) == len(sides) else "A", numbers
    if layout == ROWS_LAST:
        batch, numbers, rows = shape
        return batch, rows, numbers
    return tuple(shape)
