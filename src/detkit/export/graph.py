"""A fused detector -> the ONNX graph that every export is made of: traced, simplified, named."""

from __future__ import annotations

import functools
import warnings
from pathlib import Path

import onnx
import onnx.helper
import onnx.shape_inference
import torch
from onnx import ModelProto
from torch import Tensor, nn

from detkit.artifact.artifact import METADATA_KEY, Manifest, TensorInfo, write_artifact
from detkit.artifact.plain_metadata import plain_metadata
from detkit.artifact.writing import temporary_folder
from detkit.nn.decode import Predictor
from detkit.nn.detector import Detector

OPSET = 17
INPUTS, OUTPUTS = ["images"], ["boxes", "scores"]


class _Uint8Input(nn.Module):
    """A predictor that takes uint8 NHWC 0..255. TensorRT transposes no uint8, so cast first."""

    def __init__(self, predictor: Predictor) -> None:
        super().__init__()
        self.predictor = predictor

    def forward(self, images_bhwc: Tensor) -> tuple[Tensor, Tensor]:
        images = images_bhwc.float().permute(0, 3, 1, 2) * (1 / 255)
        out: tuple[Tensor, Tensor] = self.predictor(images)
        return out


def build_graph(
    fused: Detector, manifest: Manifest, *, uint8: bool = False, exporter: str = "torchscript"
) -> ModelProto:
    """The simplified graph of `manifest`'s input size with raw outputs, dynamic in the batch."""
    predictor = Predictor(fused, manifest.preprocess.size)
    height, width = manifest.preprocess.size
    if uint8:
        network: nn.Module = _Uint8Input(predictor)
        example = torch.zeros(2, height, width, 3, dtype=torch.uint8)
    else:
        network, example = predictor, torch.zeros(2, 3, height, width)
    graph = simplify(trace(network.eval(), example, exporter))
    _name_shapes(graph, *manifest.outputs)
    return graph


def trace(network: nn.Module, example: Tensor, exporter: str) -> ModelProto:
    """Exports one ONNX graph by torch's torchscript or dynamo exporter."""
    with warnings.catch_warnings(), temporary_folder() as folder:
        warnings.simplefilter("ignore")  # the exporters warn about themselves
        path = folder / "traced.onnx"
        export_to = functools.partial(
            torch.onnx.export, network, (example,), path, input_names=INPUTS, output_names=OUTPUTS
        )
        if exporter == "dynamo":
            batch = torch.export.Dim("batch", min=1, max=1024)
            export_to(dynamo=True, dynamic_shapes=({0: batch},), external_data=False, verbose=False)
        else:
            axes = {name: {0: "batch"} for name in INPUTS + OUTPUTS}
            export_to(dynamo=False, opset_version=OPSET, dynamic_axes=axes)
        return onnx.load(path)


def simplify(model: ModelProto) -> ModelProto:
    """Folds constants and drops identities, by onnxsim, or onnxslim where that has no wheel."""
    try:
        import onnxsim
    except ModuleNotFoundError:
        import onnxslim

        slim: ModelProto = onnxslim.slim(model)
        return slim
    simplified, is_same = onnxsim.simplify(model)
    return simplified if is_same else model


def _name_shapes(model: ModelProto, *outputs: TensorInfo) -> None:
    """Gives the outputs their full shapes, which tracing leaves partly unnamed."""
    for value, info in zip(model.graph.output, outputs, strict=True):
        dims = value.type.tensor_type.shape.dim
        for dim, size in zip(dims, info.shape, strict=True):
            if isinstance(size, str):
                dim.dim_param = size
            else:
                dim.dim_value = size


def write_onnx(graph: ModelProto, manifest: Manifest, out: Path) -> Manifest:
    """Writes a graph whose metadata is the manifest, and what other programs look for.

    Returns:
        The manifest as sealed.
    """

    def write(partial: Path, manifest_json: str) -> None:
        sealed = ModelProto()
        sealed.CopyFrom(graph)
        del sealed.metadata_props[:]
        onnx.helper.set_model_props(
            sealed, {METADATA_KEY: manifest_json, **plain_metadata(manifest)}
        )
        onnx.save(sealed, partial)

    return write_artifact(out, manifest, write)
