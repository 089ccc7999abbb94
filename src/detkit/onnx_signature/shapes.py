"""Whether tensors have the shapes that a description of outputs implies, and how many labels.

The same check serves the shapes that a file states and those that an engine gives. A dimension that
is no number fits anything, and so does a tensor whose shape is not stated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from detkit.artifact.artifact import TensorInfo
from detkit.core.errors import ArtifactError
from detkit.spec.onnx_description import OutputSpec

Shape = Sequence[int | str]
SHAPES = {  # role -> what it may look like; B batch, A anchor points or queries, M detections
    "boxes": (("B", "A", 4), ("M", 4)),
    "detections": (("B", "M", 5), ("M", 5)),
    "scores": (("B", "M"), ("M",)),
    "labels": (("B", "M"), ("M",)),
    "counts": (("B",), ("B", 1), ()),
}


def check_shapes(path: str, spec: OutputSpec, tensors: Mapping[str, TensorInfo]) -> int:
    """Returns the number of labels or columns of scores, or 0 where the shapes do not say.

    Args:
        tensors: by role; raw boxes and scores as `outputs.laid_out` lays them out.

    Raises:
        ArtifactError: names the tensor, its shape and what was expected.
    """
    for role, tensor in tensors.items():
        wanted = _wanted(spec, role)
        if not any(_fits(tensor.shape, shape) for shape in wanted):
            raise _misfit(path, tensor, " or ".join(map(shape_text, wanted)))
    if "joint" in tensors:
        return _joint_labels(path, spec, tensors["joint"])
    if "rows" in tensors:
        return 0
    boxes = (tensors.get("boxes") or tensors["detections"]).shape
    for role in [role for role in ("scores", "labels") if role in tensors]:
        wanted_shape = (*boxes[:-1], "C") if spec.is_raw else boxes[:-1]
        if boxes and not _fits(tensors[role].shape, wanted_shape):
            raise _misfit(path, tensors[role], f"{shape_text(wanted_shape)}, as there are boxes")
    columns = tensors["scores"].shape[2:] if spec.is_raw else ()
    return next((size for size in columns if isinstance(size, int)), 0)


def check_grid(
    path: str, spec: OutputSpec, tensors: Mapping[str, TensorInfo], size: tuple[int, int]
) -> None:
    """Checks that there is a row for each cell of the grids of `spec.strides`, where there are any.

    Args:
        size: (height, width) of the input.

    Raises:
        ArtifactError: names the tensor, its shape and the number of cells.
    """
    role = "joint" if "joint" in tensors else "boxes"
    shape = tensors[role].shape if spec.strides else ()
    if not shape:
        return
    rows = shape[2 if role == "joint" and spec.anchors_last else 1]
    cells = num_cells(spec.strides, size)
    if _differ(rows, cells):
        strides = ", ".join(map(str, spec.strides))
        raise _misfit(
            path,
            tensors[role],
            f"{cells} rows, the cells of strides {strides} in {size[1]}x{size[0]}",
        )


def num_cells(strides: Sequence[int], size: tuple[int, int]) -> int:
    """How many cells there are in the grids of these strides over (height, width), at the edge too.

    >>> num_cells((8, 16, 32, 64), (320, 320))
    2125
    """
    return sum(-(-size[0] // stride) * -(-size[1] // stride) for stride in strides)


def hint_at_presets(where: str) -> str:
    return f"detkit info {where} lists the presets that fit"


def shape_text(shape: Shape) -> str:
    return f"({', '.join(map(str, shape))})"


def _wanted(spec: OutputSpec, role: str) -> tuple[Shape, ...]:
    if role == "rows":
        width = len(spec.columns) + 3
        return ("M", width), ("B", "M", width)
    if role == "joint":
        return (
            (("B", _row_text(spec), "A"),) if spec.anchors_last else (("B", "A", _row_text(spec)),)
        )
    if "labels" not in spec.roles:
        return (("B", "A", spec.box_width if role == "boxes" else "C"),)
    return SHAPES[role]


def _row_text(spec: OutputSpec) -> str:
    width = spec.box_width + spec.objectness
    return f"C + {width}" if spec.scores_first else f"{width} + C"


def _fits(shape: Shape, wanted: Shape) -> bool:
    if not shape:
        return True
    return len(shape) == len(wanted) and not any(map(_differ, shape, wanted))


def _differ(a: int | str, b: int | str) -> bool:
    return isinstance(a, int) and isinstance(b, int) and a != b


def _joint_labels(path: str, spec: OutputSpec, tensor: TensorInfo) -> int:
    """The number C of labels in (B, A, 4 + C); ArtifactError where A and 4 + C are swapped."""
    if not tensor.shape:
        return 0
    anchors, row = tensor.shape[1:][:: -1 if spec.anchors_last else 1]
    if not isinstance(row, int):
        return 0
    labels = row - spec.box_width - spec.objectness
    is_swapped = spec.is_dense and isinstance(anchors, int) and row > anchors
    if labels < 1 or is_swapped:
        wanted = shape_text(_wanted(spec, "joint")[0])
        raise _misfit(path, tensor, f"{wanted} with more anchor points A than classes C")
    return labels


def _misfit(path: str, tensor: TensorInfo, wanted: str) -> ArtifactError:
    return ArtifactError(
        f"{path}: output '{tensor.name}' is {shape_text(tensor.shape)}; expected {wanted}",
        hint=hint_at_presets(path),
    )
