"""A checkpoint of super-gradients becomes a detkit checkpoint."""

from __future__ import annotations

from pathlib import Path

from detkit.artifact.artifact import Manifest, command_line, parent_of, versions
from detkit.engines import TRAINING
from detkit.importing.unpickle import read_checkpoint
from detkit.importing.yolo_nas import parse_yolo_nas
from detkit.nn.checkpoint import assign_strictly, input_output, save_checkpoint
from detkit.nn.detector import build_detector, cost_metrics
from detkit.report import ConversionReport


def import_checkpoint(source: Path, out: Path) -> ConversionReport:
    """Writes the weights of a super-gradients YOLO-NAS `.pth` as a trainable detkit checkpoint.

    Raises:
        ArtifactError: not a readable torch checkpoint, not YOLO-NAS, or an unsupported input.
    """
    found = parse_yolo_nas(read_checkpoint(source))
    model = build_detector(found.spec, "training")
    assign_strictly(model, found.tensors, where=str(source))
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
    )
    save_checkpoint(out, model, manifest)
    return ConversionReport(
        file=str(out),
        parent=str(source),
        parameters=int(manifest.metrics["parameters"]),
        macs=int(manifest.metrics["macs"]),
        bytes=out.stat().st_size,
        difference=None,
        notes={"tensors": str(len(found.tensors)), **found.notes},
    )
