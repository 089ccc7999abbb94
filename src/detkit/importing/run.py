"""A checkpoint of another tool becomes a detkit checkpoint."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from detkit.artifact.artifact import Manifest, command_line, parent_of, versions
from detkit.artifact.other_tools import export_hint
from detkit.config import check_licence
from detkit.core.errors import ArtifactError, UsageError
from detkit.engines import TRAINING
from detkit.importing.imported import Imported
from detkit.importing.onnx_weights import read_convolutions
from detkit.importing.unpickle import read_checkpoint
from detkit.importing.yolo_nas import is_yolo_nas, parse_yolo_nas
from detkit.importing.yolox import is_yolox, parse_yolox
from detkit.importing.yolox_onnx import parse_yolox_onnx
from detkit.nn.checkpoint import assign_strictly, input_output, save_checkpoint
from detkit.nn.detector import Detector, build_detector, cost_metrics
from detkit.report import ConversionReport


def read_weights(source: Path) -> Imported:
    """Reads the weights in another tool's file, and what it says of their input and classes.

    Raises:
        ArtifactError: not a readable torch checkpoint, another network, or an unsupported input.
    """
    is_onnx = source.suffix.lower() == ".onnx"
    content = read_convolutions(source) if is_onnx else read_checkpoint(source)
    try:
        if is_onnx:
            return parse_yolox_onnx(content)
        if is_yolox(content):
            return parse_yolox(content)
        if is_yolo_nas(content):
            return parse_yolo_nas(content)
    except (ArtifactError, UsageError) as error:
        raise ArtifactError(f"{source}: {error}", hint=error.hint) from error
    hint = export_hint(source) or "they are read as their trainers save them"
    raise ArtifactError(f"{source} holds no weights of YOLO-NAS or YOLOX", hint=hint)


def import_checkpoint(source: Path, out: Path, *, licence: str = "") -> ConversionReport:
    """Writes the weights of a `.pth` of YOLO-NAS or YOLOX, or its ONNX, as a detkit checkpoint.

    Args:
        licence: what its owner states of the weights; "" takes that of the published ones.

    Raises:
        ArtifactError: not a readable file of weights, another network, or an unsupported input.
        UsageError: a licence that is not one printable line.
    """
    check_licence(licence)
    found = read_weights(source)
    model = build_detector(found.spec, "training")
    assign_strictly(model, _own_weights(found, model, source), where=str(source))
    inputs, outputs = input_output(found.spec)
    manifest = Manifest(
        kind="checkpoint",
        arch=found.spec,
        class_names=found.class_names,
        preprocess=found.preprocess,
        inputs=inputs,
        outputs=outputs,
        parents=(parent_of(source),),
        command=command_line("import"),
        versions=versions(TRAINING.package),
        metrics=cost_metrics(found.spec),
        licence=licence or found.licence,
        weights_source=f"{source.name}, {found.source}",
    )
    save_checkpoint(out, model, manifest)
    return ConversionReport(
        file=str(out),
        parent=str(source),
        parameters=int(manifest.metrics["parameters"]),
        macs=int(manifest.metrics["macs"]),
        bytes=out.stat().st_size,
        difference=None,
        licence=manifest.licence,
        weights_source=manifest.weights_source,
        warnings=() if licence or not found.licence_warning else (found.licence_warning,),
        notes={"tensors": str(len(found.tensors)), **found.notes},
    )


def _own_weights(found: Imported, model: Detector, source: Path) -> dict[str, Tensor]:
    """Copies of the tensors, which may share a storage, in the types of the network's own.

    Raises:
        ArtifactError: numbers where the network has floats, or weights that are not finite.
    """
    own = {}
    for name, wanted in model.state_dict().items():
        tensor = found.tensors[name]
        if tensor.is_floating_point() != wanted.is_floating_point():
            raise ArtifactError(f"{source}: its tensor {name} is of type {tensor.dtype}")
        own[name] = tensor.to(wanted.dtype).clone(memory_format=torch.contiguous_format)
        if not own[name].isfinite().all():
            raise ArtifactError(f"{source}: its tensor {name} holds NaN or Inf")
    return own
