"""How an ONNX file of another tool is fed: its image, and the constants beside it."""

from __future__ import annotations

import json

from detkit.artifact.artifact import TensorInfo
from detkit.core.errors import ArtifactError, UsageError, did_you_mean
from detkit.onnx_signature.onnx_graph import OnnxGraph
from detkit.onnx_signature.shapes import hint_at_presets, shape_text
from detkit.spec.onnx_description import InputSpec
from detkit.spec.preprocess import Preprocess

INPUT_DTYPES = ("float32", "float16", "uint8")


def image_input(where: str, graph: OnnxGraph, spec: InputSpec) -> TensorInfo:
    """The input that is a batch of images or, without its first dimension, an image.

    Raises:
        ArtifactError: it takes no images, or there are others that nothing is known to feed with.
    """
    tensor = _chosen(where, graph, spec)
    channels_at = -3 if spec.layout == "nchw" else -1
    is_image = len(tensor.shape) in (3, 4) and (
        not isinstance(tensor.shape[channels_at], int) or tensor.shape[channels_at] == 3
    )
    if not is_image or tensor.dtype not in INPUT_DTYPES:
        wanted = "(B, 3, H, W)" if spec.layout == "nchw" else "(B, H, W, 3)"
        raise ArtifactError(
            f"{where}: input '{tensor.name}' is {shape_text(tensor.shape)} {tensor.dtype};"
            f" expected {wanted} {', '.join(INPUT_DTYPES)}",
            hint=_layout_hint(where, tensor, spec),
        )
    return tensor


def _chosen(where: str, graph: OnnxGraph, spec: InputSpec) -> TensorInfo:
    """The one input that is not fed with a constant."""
    by_name = {tensor.name: tensor for tensor in graph.inputs}
    for name in [*spec.constants, *filter(None, [spec.name])]:
        if name not in by_name:
            raise ArtifactError(
                f"{where}: the graph has no input '{name}', but {_listed(by_name)}",
                hint=f"{hint_at_presets(where)}; {did_you_mean(name, by_name)}",
            )
    others = [tensor for tensor in graph.inputs if tensor.name not in spec.constants]
    if len(others) != 1:
        image = next((tensor for tensor in others if len(tensor.shape) > 2), None)
        fed = {tensor.name: [1, 1] for tensor in others if tensor is not image}
        known = {name: list(numbers) for name, numbers in spec.constants.items()}
        constants = json.dumps({**known, **fed})
        cure = f'"input": {{"constants": {constants}}} feeds others with numbers of yours'
        raise ArtifactError(
            f"{where}: expected one input, the image; the graph has {_listed(by_name)}",
            hint=f"{hint_at_presets(where)}; in a FILE.json {cure}" if others else "",
        )
    return others[0]


def _listed(by_name: dict[str, TensorInfo]) -> str:
    return ", ".join(f"'{name}'" for name in by_name) or "none"


def _layout_hint(where: str, tensor: TensorInfo, spec: InputSpec) -> str:
    """What to say where the channels are at the other end, or nothing can be fed."""
    if tensor.dtype in INPUT_DTYPES and 3 in tensor.shape:
        other = "nhwc" if spec.layout == "nchw" else "nchw"
        return f'in a FILE.json: {{"preset": ..., "input": {{"layout": "{other}"}}}}'
    return f"detkit info {where} shows its inputs"


def constant_inputs(where: str, graph: OnnxGraph, spec: InputSpec) -> tuple[TensorInfo, ...]:
    """The inputs beside the image, in the order of the description.

    Raises:
        ArtifactError: one that takes another number of constants than are described.
    """
    by_name = {tensor.name: tensor for tensor in graph.inputs}
    for name, numbers in spec.constants.items():
        shape = by_name[name].shape
        wanted = shape[-1] if len(shape) in (1, 2) else 0
        if isinstance(wanted, int) and wanted != len(numbers):
            raise ArtifactError(
                f"{where}: input '{name}' is {shape_text(shape)};"
                f" the description has {len(numbers)} numbers for it",
                hint=f"constants are of inputs (B, N) or (N,); {hint_at_presets(where)}",
            )
    return tuple(by_name[name] for name in spec.constants)


def preprocess_of(where: str, graph: OnnxGraph, tensor: TensorInfo, spec: InputSpec) -> Preprocess:
    """How images become the input `tensor`.

    Raises:
        ArtifactError, UsageError: the description asks for what the graph does not take.
    """
    size = input_size(where, graph, tensor, spec)
    if tensor.dtype == "uint8" and (any(spec.mean) or any(value != 1 for value in spec.std)):
        raise UsageError(
            f"{where}: input '{tensor.name}' is uint8, which takes no mean or std",
            hint='in a FILE.json: {"preset": ..., "input": {"mean": [0, 0, 0], "std": [1, 1, 1]}}',
        )
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


def input_size(
    where: str, graph: OnnxGraph, tensor: TensorInfo, spec: InputSpec
) -> tuple[int, int]:
    """The input's (height, width), by the graph or, where it leaves them free, the description.

    Where that leaves them free too, they are what the file's metadata says.

    Raises:
        ArtifactError: the graph has another size than the description.
        UsageError: nothing says the size.
    """
    stated = tensor.shape[-2:] if spec.layout == "nchw" else tensor.shape[-3:-1]
    size = []
    for side, asked, told in zip(stated, spec.size, graph.image_size, strict=True):
        if isinstance(side, int) and asked in (0, side):
            size.append(side)
        elif not isinstance(side, int) and (asked or told):
            size.append(asked or told)
        elif asked:
            raise ArtifactError(
                f"{where}: input '{tensor.name}' is {shape_text(tensor.shape)};"
                f" the description says {spec.size[0]}x{spec.size[1]}",
                hint='leave "size" out of its "input": the graph has its own',
            )
        else:
            raise UsageError(
                f"{where}: input '{tensor.name}' is {shape_text(tensor.shape)}, of any size",
                hint='say which in a FILE.json: {"preset": ..., "input": {"size": [640, 640]}}',
            )
    return size[0], size[1]
