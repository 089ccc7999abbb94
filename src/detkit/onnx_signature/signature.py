"""A description held against an ONNX file: how that detector is fed and read, or why it cannot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from detkit.artifact.artifact import Signature, TensorInfo
from detkit.artifact.embedded import embedded_text
from detkit.core.errors import ArtifactError, NoManifestError, UsageError, did_you_mean
from detkit.onnx_signature.onnx_graph import OnnxGraph
from detkit.onnx_signature.shapes import check_grid, check_shapes, shape_text
from detkit.spec.onnx_description import PRESETS, InputSpec, OnnxDescription, OutputSpec
from detkit.spec.preprocess import Preprocess

INPUT_DTYPES = ("float32", "float16", "uint8")
METADATA_KEY = "detkit"


@dataclass(frozen=True, kw_only=True)
class DescribedSignature(Signature):
    """A `Signature` with what turns the outputs into boxes, scores and classes.

    `tensors` names the output of each role. `class_of` is the class of each label or column of
    scores, -1 where it stands for none; empty where nothing says how many there are. `only_batch`
    is 0 where any number of images can be run at once.
    """

    spec: OutputSpec
    layout: str
    tensors: dict[str, str]
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


def fitting_presets(graph: OnnxGraph) -> tuple[str, ...]:
    """Names of the presets whose inputs and outputs have these shapes, as far as they are stated.

    Not listed are those that the file says too little to tell, those that leave an output unused
    where others use all, and those without a grid where the rows are the cells of another's grid.
    """

    def fits(spec: OnnxDescription) -> bool:
        try:
            tensors = tensors_of("", graph, spec.outputs)
            labels = check_shapes("", spec.outputs, tensors)
            tensor = _input_of("", graph, spec.input)
            if spec.outputs.strides:
                check_grid("", spec.outputs, tensors, _size("", tensor, spec.input))
        except (ArtifactError, UsageError):
            return False
        if spec.outputs.strides and not _may_be_decoded(graph, spec.outputs):
            return False
        if "rows" in tensors:
            return isinstance((tensors["rows"].shape or ("?",))[-1], int)
        return labels > 0 or not spec.outputs.is_raw

    names = tuple(name for name, spec in PRESETS.items() if fits(spec))
    whole = tuple(n for n in names if len(PRESETS[n].outputs.roles) == len(graph.outputs))
    names = whole or names
    return tuple(n for n in names if PRESETS[n].outputs.strides) or names


def _may_be_decoded(graph: OnnxGraph, spec: OutputSpec) -> bool:
    """Whether the graph has the exponentials of sizes if, and only if, the boxes are decoded."""
    return not graph.operators or ("Exp" in graph.operators) == (spec.box_format != "grid")


def sign(path: Path, graph: OnnxGraph, spec: OnnxDescription) -> DescribedSignature:
    """Makes the signature of a graph that the description fits.

    Raises:
        ArtifactError: a tensor that is not there, or has another shape than was described.
        UsageError: a description that leaves something open.
    """
    where = str(path)
    tensor = _input_of(where, graph, spec.input)
    outputs = tensors_of(where, graph, spec.outputs)
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
    preprocess = _preprocess(where, tensor, spec.input)
    check_grid(where, spec.outputs, outputs, preprocess.size)
    return DescribedSignature(
        kind="onnx",
        form="nms" if spec.outputs.is_suppressed else "deployed",
        precision=graph.precision,
        class_names=tuple(filter(None, names)) or _numbered(class_of),
        preprocess=preprocess,
        inputs=(tensor,),
        outputs=graph.outputs,
        spec=spec.outputs,
        layout=spec.input.layout,
        tensors={role: output.name for role, output in outputs.items()},
        class_of=class_of,
        only_batch=_only_batch(spec.outputs, tensor, outputs),
    )


def tensors_of(where: str, graph: OnnxGraph, spec: OutputSpec) -> dict[str, TensorInfo]:
    """The output of each role, by name where the description names it, else by order.

    Scores and labels in the other order are known by their types: some detectors of torchvision
    give the one first, some the other.

    Raises:
        ArtifactError: it is not there, or scores are whole numbers.
    """
    by_name = {tensor.name: tensor for tensor in graph.outputs}
    found: dict[str, TensorInfo] = {}
    for index, role in enumerate(spec.roles):
        if role in spec.names:
            name = spec.names[role]
            if name not in by_name:
                raise ArtifactError(
                    f"{where}: the graph has no output '{name}'", hint=did_you_mean(name, by_name)
                )
            found[role] = by_name[name]
        elif index < len(graph.outputs):
            found[role] = graph.outputs[index]
        else:
            raise ArtifactError(
                f"{where}: the outputs are {', '.join(by_name) or 'none'}; expected"
                f" {len(spec.roles)}: {', '.join(spec.roles)}",
                hint=f"detkit info {where} lists the presets that fit",
            )
    scores, labels = found.get("scores"), found.get("labels")
    if scores and labels and is_whole(scores) and not is_whole(labels):
        if not {"scores", "labels"}.isdisjoint(spec.names):
            raise ArtifactError(
                f"{where}: output '{scores.name}' is {scores.dtype} and cannot be scores",
                hint=f'"names": {{"scores": "{labels.name}", "labels": "{scores.name}"}}',
            )
        found.update(scores=labels, labels=scores)
    elif scores and is_whole(scores):
        raise ArtifactError(
            f"{where}: output '{scores.name}' is {scores.dtype} and cannot be scores",
            hint=f"detkit info {where} lists the presets that fit",
        )
    return found


def is_whole(tensor: TensorInfo) -> bool:
    """Whether a tensor holds whole numbers."""
    return "int" in tensor.dtype


# --- the input -----------------------------------------------------------------------------------


def _input_of(where: str, graph: OnnxGraph, spec: InputSpec) -> TensorInfo:
    """The one input, a batch of images or, without its first dimension, an image.

    Raises:
        ArtifactError: there are several, or it takes no images.
    """
    if len(graph.inputs) != 1:
        names = ", ".join(tensor.name for tensor in graph.inputs) or "none"
        raise ArtifactError(f"{where}: expected one input, the image; the graph has {names}")
    tensor = graph.inputs[0]
    if spec.name and spec.name != tensor.name:
        raise ArtifactError(f"{where}: the graph has no input '{spec.name}', but '{tensor.name}'")
    channels_at = -3 if spec.layout == "nchw" else -1
    is_image = len(tensor.shape) in (3, 4) and (
        not isinstance(tensor.shape[channels_at], int) or tensor.shape[channels_at] == 3
    )
    if not is_image or tensor.dtype not in INPUT_DTYPES:
        wanted = "(B, 3, H, W)" if spec.layout == "nchw" else "(B, H, W, 3)"
        raise ArtifactError(
            f"{where}: input '{tensor.name}' is {shape_text(tensor.shape)} {tensor.dtype};"
            f" expected {wanted} {', '.join(INPUT_DTYPES)}"
        )
    return tensor


def _preprocess(where: str, tensor: TensorInfo, spec: InputSpec) -> Preprocess:
    size = _size(where, tensor, spec)
    if tensor.dtype == "uint8" and (any(spec.mean) or any(value != 1 for value in spec.std)):
        raise UsageError(f"{where}: input '{tensor.name}' is uint8, which takes no mean or std")
    return Preprocess(
        size=size,
        fit=size,
        pad_value=spec.pad_value,
        pad_place=spec.pad_place,
        channel_order=spec.channel_order,
        scale=1 / 255 if tensor.dtype == "uint8" else spec.scale,
        mean=spec.mean,
        std=spec.std,
        resize=spec.resize,
    )


def _size(where: str, tensor: TensorInfo, spec: InputSpec) -> tuple[int, int]:
    """The input's (height, width), by the graph or, where it leaves them free, the description."""
    stated = tensor.shape[-2:] if spec.layout == "nchw" else tensor.shape[-3:-1]
    size = []
    for side, asked in zip(stated, spec.size, strict=True):
        if isinstance(side, int) and asked in (0, side):
            size.append(side)
        elif not isinstance(side, int) and asked:
            size.append(asked)
        elif asked:
            raise ArtifactError(
                f"{where}: input '{tensor.name}' is {shape_text(tensor.shape)};"
                f" the description says {spec.size[0]}x{spec.size[1]}"
            )
        else:
            raise UsageError(
                f"{where}: input '{tensor.name}' is {shape_text(tensor.shape)}, of any size",
                hint='say which in a FILE.json: {"preset": ..., "input": {"size": [640, 640]}}',
            )
    return size[0], size[1]


def _only_batch(spec: OutputSpec, tensor: TensorInfo, outputs: dict[str, TensorInfo]) -> int:
    """The batch size that is fixed, or 1 where an input or output has no dimension for it."""
    rows = outputs.get("rows") if "image" not in spec.columns else None
    found = outputs.get("boxes") or rows
    if len(tensor.shape) == 3 or (found is not None and len(found.shape) == 2):
        return 1
    first = tensor.shape[0]
    return first if isinstance(first, int) else 0


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
