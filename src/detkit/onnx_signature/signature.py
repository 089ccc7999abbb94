"""A description held against an ONNX file: how that detector is fed and read, or why it cannot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from detkit.artifact.artifact import Signature, TensorInfo
from detkit.artifact.embedded import embedded_text
from detkit.core.errors import ArtifactError, NoManifestError
from detkit.onnx_signature.image_input import constant_inputs, image_input, preprocess_of
from detkit.onnx_signature.onnx_graph import OnnxGraph
from detkit.onnx_signature.outputs import laid_out, tensors_of
from detkit.onnx_signature.shapes import check_grid, check_shapes, shape_text
from detkit.spec.onnx_description import OnnxDescription, OutputSpec

METADATA_KEY = "detkit"


@dataclass(frozen=True, kw_only=True)
class DescribedSignature(Signature):
    """A `Signature` with what turns the outputs into boxes, scores and classes.

    `inputs` are the image and then those that are fed with `constants`. `tensors` names the outputs
    of each role. `class_of` is the class of each label or column of scores, -1 where it stands for
    none; empty where nothing says how many there are. `only_batch` is 0 where any number of images
    can be run at once.
    """

    spec: OutputSpec
    layout: str
    constants: dict[str, tuple[float, ...]]
    tensors: dict[str, tuple[str, ...]]
    class_of: tuple[int, ...]
    only_batch: int


def lacks_manifest(path: Path) -> bool:
    """Whether this is a whole ONNX file without a manifest, so that another tool made it.

    Raises:
        ArtifactError: missing, damaged, or of another format.
    """
    try:
        embedded_text(path, METADATA_KEY)
    except NoManifestError:
        return True
    return False


def sign(path: Path, graph: OnnxGraph, spec: OnnxDescription) -> DescribedSignature:
    """Makes the signature of a graph that the description fits.

    Raises:
        ArtifactError: a tensor that is not there, or has another shape than was described.
        UsageError: a description that leaves something open.
    """
    where = str(path)
    tensor = image_input(where, graph, spec.input)
    others = constant_inputs(where, graph, spec.input)
    parts = tensors_of(where, graph, spec.outputs)
    outputs = laid_out(spec.outputs, parts)
    labels = check_shapes(where, spec.outputs, outputs)
    names = spec.class_names or graph.class_names
    if names and labels and labels != len(names) + spec.outputs.has_background:
        scores = outputs.get("joint") or outputs["scores"]
        raise ArtifactError(
            f"{where}: output '{scores.name}' is {shape_text(scores.shape)}, which is"
            f" {labels - spec.outputs.has_background} classes, and there are {len(names)} names",
            hint='"class_names": one for each class, "" for a number that no class has',
        )
    class_of = _class_of(spec.outputs, names, labels)
    preprocess = preprocess_of(where, graph, tensor, spec.input)
    check_grid(where, spec.outputs, outputs, preprocess.size)
    return DescribedSignature(
        kind="onnx",
        form="nms" if spec.outputs.is_suppressed else "deployed",
        precision=graph.precision,
        class_names=tuple(filter(None, names)) or _numbered(class_of),
        preprocess=preprocess,
        inputs=(tensor, *others),
        outputs=graph.outputs,
        spec=spec.outputs,
        layout=spec.input.layout,
        constants=spec.input.constants,
        tensors={role: tuple(part.name for part in own) for role, own in parts.items()},
        class_of=class_of,
        only_batch=_only_batch(spec.outputs, (tensor, *others), outputs),
    )


def _only_batch(
    spec: OutputSpec, inputs: Sequence[TensorInfo], outputs: dict[str, TensorInfo]
) -> int:
    """The batch size that is fixed, or 1 where an input or output has no dimension for it."""
    rows = outputs.get("rows") if "image" not in spec.columns else None
    found = outputs.get("boxes") or outputs.get("detections") or rows
    lacks_batch = len(inputs[0].shape) == 3 or (found is not None and len(found.shape) == 2)
    if lacks_batch or any(len(other.shape) == 1 for other in inputs[1:]):
        return 1
    return next((t.shape[0] for t in inputs if t.shape and isinstance(t.shape[0], int)), 0)


# --- classes -------------------------------------------------------------------------------------


def _class_of(spec: OutputSpec, names: Sequence[str], labels: int) -> tuple[int, ...]:
    """The class of each label: its index among the names that are not empty."""
    num_classes = max(labels - spec.has_background, 0)
    present = [bool(name) for name in names] or [True] * num_classes
    if present and spec.background == "first":
        present = [False, *present]
    elif present and spec.background == "last":
        present = [*present, False]
    return tuple(sum(present[:index]) if there else -1 for index, there in enumerate(present))


def _numbered(class_of: Sequence[int]) -> tuple[str, ...]:
    return tuple(f"class {number}" for number in class_of if number >= 0)
