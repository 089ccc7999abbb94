"""Checkpoint -> ONNX: fused, traced, simplified, and compared with torch before it is kept."""

from __future__ import annotations

import dataclasses
import functools
import tempfile
import warnings
from pathlib import Path

import onnx
import onnx.shape_inference
import torch
from onnx import ModelProto
from torch import Tensor, nn

from detkit.artifact import (
    METADATA_KEY,
    Manifest,
    TensorInfo,
    command_line,
    parent_of,
    versions,
    write_artifact,
)
from detkit.data.samples import comparison_pictures
from detkit.errors import GateError
from detkit.export import ExportOptions
from detkit.export.nms import append_nms
from detkit.nn.checkpoint import input_output, load_checkpoint
from detkit.nn.decode import Predictor
from detkit.nn.detector import Detector, cost_metrics, fuse
from detkit.report import ConversionReport, Difference
from detkit.runtime import Placement, Session, open_session
from detkit.runtime.compare import compare, compare_suppressed
from detkit.runtime.torch import TorchSession
from detkit.spec.arch import check_image_size
from detkit.spec.zoo import with_task

OPSET = 17
INPUTS, OUTPUTS = ["images"], ["boxes", "scores"]
MAX_SCORE_DIFFERENCE = 1e-4
MAX_BOX_DIFFERENCE_PX = 1e-2
NUM_PICTURES = 8


class _Uint8Input(nn.Module):
    """Takes uint8 NHWC 0..255. Cast before transpose: TensorRT refuses to transpose uint8."""

    def __init__(self, predictor: Predictor) -> None:
        super().__init__()
        self.predictor = predictor

    def forward(self, images_bhwc: Tensor) -> tuple[Tensor, Tensor]:
        images = images_bhwc.float().permute(0, 3, 1, 2) * (1 / 255)
        out: tuple[Tensor, Tensor] = self.predictor(images)
        return out


def export(checkpoint: Path, out: Path, options: ExportOptions) -> ConversionReport:
    """Writes `out` and returns how far it strays from the checkpoint in torch.

    Raises:
        GateError: it differs by more than 1e-4 of a score or 0.01 px; nothing is written.
        ArtifactError: not a detkit checkpoint.
    """
    model, parent = load_checkpoint(checkpoint)
    model = model.eval()
    manifest = _manifest(parent, checkpoint, options)
    raw_manifest = _raw_manifest(manifest)
    raw = build_graph(fuse(model), raw_manifest, uint8=options.uint8, exporter=options.exporter)
    graph = append_nms(raw, options.nms_config) if options.nms else raw
    images, source = comparison_pictures(
        options.data or "", manifest.preprocess, NUM_PICTURES, recorded=manifest.data
    )
    with tempfile.TemporaryDirectory(prefix="detkit-") as folder:
        draft = _open_draft(Path(folder) / "raw.onnx", raw, raw_manifest)
        reference = TorchSession(model, raw_manifest, Placement())
        difference = _within_limits(compare(reference, draft, images, source=source))
        if options.nms:
            suppressed = _open_draft(Path(folder) / "nms.onnx", graph, manifest)
            _within_limits(
                compare_suppressed(draft, suppressed, images, options.nms_config, source=source)
            )
    metrics = {"difference_score": difference.score, "difference_box_px": difference.box_px}
    manifest = dataclasses.replace(manifest, metrics={**manifest.metrics, **metrics})
    write_graph(out, graph, manifest)
    return ConversionReport(
        file=str(out),
        parent=str(checkpoint),
        parameters=int(manifest.metrics["parameters"]),
        macs=int(manifest.metrics["macs"]),
        bytes=out.stat().st_size,
        difference=difference,
        notes={"opset": str(graph.opset_import[0].version), "nodes": str(len(graph.graph.node))},
    )


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
    """One ONNX graph by torch's torchscript or dynamo exporter."""
    with warnings.catch_warnings(), tempfile.TemporaryDirectory(prefix="detkit-") as folder:
        warnings.simplefilter("ignore")  # the exporters warn about themselves
        path = Path(folder) / "traced.onnx"
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


def _manifest(parent: Manifest, checkpoint: Path, options: ExportOptions) -> Manifest:
    size = options.image_size if any(options.image_size) else parent.preprocess.size
    check_image_size(size)
    spec = with_task(parent.arch, parent.arch.num_classes, size)
    inputs, outputs = input_output(spec)
    if options.uint8:
        inputs = (TensorInfo(name="images", dtype="uint8", shape=("batch", *size, 3)),)
    if options.nms:
        outputs = _nms_outputs(options.nms_config.max_detections)
    kept = {name: value for name, value in parent.metrics.items() if name in ("ap", "ap50")}
    return Manifest(
        kind="onnx",
        arch=spec,
        form="nms" if options.nms else "deployed",
        class_names=parent.class_names,
        preprocess=parent.preprocess.resized(size),
        inputs=inputs,
        outputs=outputs,
        parents=(parent_of(checkpoint),),
        command=command_line("export"),
        data=parent.data,
        versions=versions("torch", "onnx", "onnxsim", "onnxslim"),
        metrics={**kept, **cost_metrics(spec)},
    )


def _nms_outputs(detections: int) -> tuple[TensorInfo, ...]:
    shapes: dict[str, tuple[str, tuple[int | str, ...]]] = {
        "num_dets": ("int64", ("batch", 1)),
        "det_boxes": ("float32", ("batch", detections, 4)),
        "det_scores": ("float32", ("batch", detections)),
        "det_classes": ("int64", ("batch", detections)),
    }
    return tuple(TensorInfo(name=n, dtype=t, shape=s) for n, (t, s) in shapes.items())


def _raw_manifest(manifest: Manifest) -> Manifest:
    """The manifest of the same graph before suppression."""
    outputs = input_output(manifest.arch)[1]
    return dataclasses.replace(manifest, form="deployed", outputs=outputs)


def write_graph(path: Path, graph: ModelProto, manifest: Manifest) -> None:
    """Writes the graph atomically, with the manifest in its metadata."""

    def write(partial: Path, manifest_json: str) -> None:
        sealed = ModelProto()
        sealed.CopyFrom(graph)
        del sealed.metadata_props[:]
        entry = sealed.metadata_props.add()
        entry.key, entry.value = METADATA_KEY, manifest_json
        onnx.save(sealed, partial)

    write_artifact(path, manifest, write)


def _open_draft(path: Path, graph: ModelProto, manifest: Manifest) -> Session:
    write_graph(path, graph, manifest)
    return open_session(path)


def _within_limits(difference: Difference) -> Difference:
    if difference.score > MAX_SCORE_DIFFERENCE or difference.box_px > MAX_BOX_DIFFERENCE_PX:
        raise GateError(
            f"the exported graph differs from torch by {difference.score:.1e} of a score and"
            f" {difference.box_px:.3g} px on {difference.images} pictures ({difference.source});"
            f" allowed are {MAX_SCORE_DIFFERENCE:.0e} and {MAX_BOX_DIFFERENCE_PX} px"
        )
    return difference
