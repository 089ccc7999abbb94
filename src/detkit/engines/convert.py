"""The steps all exports share: checkpoint -> graph -> file, compared with torch before it is kept.

A `FileFormat` is what differs from one format to the next: how a file is written, and how far it
may stray. The file compared is one that its own writer made and its own engine runs.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from onnx import ModelProto

from detkit.artifact.artifact import (
    Manifest,
    TensorInfo,
    command_line,
    parent_of,
    size_of,
    versions,
)
from detkit.artifact.writing import temporary_folder
from detkit.core.boxes import Array
from detkit.core.errors import GateError, UsageError
from detkit.data.comparison_images import comparison_images
from detkit.engines import ENGINES, TRAINING, measuring_engines
from detkit.engines.exporting import ExportOptions
from detkit.engines.int8_checks import Speed, check_rounding, check_speed
from detkit.engines.int8_graph import for_engine
from detkit.engines.opening import open_session
from detkit.engines.torch.session import TorchSession
from detkit.export.graph import build_graph
from detkit.export.nms import append_nms
from detkit.nn.checkpoint import input_output, load_checkpoint
from detkit.nn.detector import Detector, cost_metrics, fuse
from detkit.nn.quantization.quantized import QuantizedDetector
from detkit.report import ConversionReport, Difference
from detkit.runtime.comparison import compare_raw, compare_suppressed
from detkit.runtime.session import Session, SessionOptions
from detkit.spec.arch import check_image_size
from detkit.spec.nms_forms import NMS_FORMS
from detkit.spec.zoo import with_task
from detkit.timing.side_by_side import CLOCKS, NOT_MEASURED

NUM_IMAGES = 8


@dataclass(frozen=True)
class Tolerance:
    """How far an export may differ from torch: in a score, and in a box in input pixels.

    `least_score` is as in `runtime.comparison.compare_raw`.
    """

    score: float
    box_px: float
    least_score: float = 0.0


EXACT = Tolerance(score=1e-4, box_px=1e-2)


@dataclass(frozen=True, kw_only=True)
class FileFormat:
    """A file format: `write(graph, manifest, path)` makes a file, returns the sealed manifest."""

    suffix: str
    write: Callable[[ModelProto, Manifest, Path], Manifest]
    tolerance: Tolerance = EXACT


def convert_checkpoint(
    checkpoint: Path, out: Path, options: ExportOptions, file_format: FileFormat
) -> ConversionReport:
    """Writes `out` and reports how far it differs from the checkpoint in torch.

    Raises:
        GateError: it differs by more than the format's tolerance; nothing is written.
        ArtifactError: not a detkit checkpoint.
        UsageError: what cannot be done with this one.
    """
    model, parent = load_checkpoint(checkpoint)
    model = model.eval()
    if isinstance(model, QuantizedDetector):
        _check_int8_options(options, file_format)
    manifest = _manifest(parent, checkpoint, options)
    raw_manifest = _raw_manifest(manifest)
    raw = build_graph(fuse(model), raw_manifest, uint8=options.uint8, exporter=options.exporter)
    if isinstance(model, QuantizedDetector):
        raw = for_engine(raw, options.engine)
    graph = raw
    if options.nms:
        graph = append_nms(raw, options.nms_config, flat=options.nms == "flat")
    images, source = comparison_images(
        options.data or "", manifest.preprocess, NUM_IMAGES, recorded=manifest.data
    )
    notes = {"opset": str(graph.opset_import[0].version), "nodes": str(len(graph.graph.node))}
    metrics: dict[str, float] = {}
    with temporary_folder() as folder:
        exported = _open_temporary(folder / "raw", raw, raw_manifest, file_format)
        if isinstance(model, QuantizedDetector):
            difference = check_rounding(
                model, raw_manifest, exported, images, options.engine, source=source
            )
            speed = _int8_speed(model, raw, raw_manifest, images, options)
            metrics, notes = _int8_figures(speed), notes | _int8_notes(speed, options.engine)
        else:
            difference = _check_exactness(
                model, raw_manifest, exported, images, file_format, source
            )
        if options.nms:
            suppressed = _open_temporary(folder / "nms", graph, manifest, file_format)
            found = compare_suppressed(
                exported, suppressed, images, options.nms_config, source=source
            )
            check_tolerance(found, EXACT)
    metrics |= {"difference_score": difference.score, "difference_box_px": difference.box_px}
    file_format.write(
        graph, dataclasses.replace(manifest, metrics={**manifest.metrics, **metrics}), out
    )
    return ConversionReport(
        file=str(out),
        parent=str(checkpoint),
        parameters=int(manifest.metrics["parameters"]),
        macs=int(manifest.metrics["macs"]),
        bytes=size_of(out),
        difference=difference,
        licence=manifest.licence,
        weights_source=manifest.weights_source,
        notes=notes,
    )


def _check_int8_options(options: ExportOptions, file_format: FileFormat) -> None:
    """Raises UsageError for what float networks can have and quantized ones cannot."""
    if options.exporter == "dynamo":
        raise UsageError("dynamo cannot trace an INT8 checkpoint", hint="--exporter torchscript")
    engine = ENGINES[options.engine]
    if options.nms and engine.nms_of_int8_onnx and file_format.suffix != engine.suffix:
        raise UsageError(
            f"--nms: {engine.nms_of_int8_onnx}",
            hint=f"--to {engine.exported_as}, which it reads right",
        )


def _check_exactness(
    model: Detector,
    manifest: Manifest,
    exported: Session,
    images: Array,
    file_format: FileFormat,
    source: str,
) -> Difference:
    """How far a float graph differs from torch; GateError beyond the format's tolerance."""
    reference = TorchSession(model, manifest, SessionOptions())
    least = file_format.tolerance.least_score
    difference = compare_raw(reference, exported, images, source=source, least_score=least)
    check_tolerance(difference, file_format.tolerance)
    return difference


def _int8_speed(
    model: QuantizedDetector,
    graph: ModelProto,
    manifest: Manifest,
    images: Array,
    options: ExportOptions,
) -> Speed | None:
    """Counts INT8 convolutions and times the graph; None for engines that are not here."""
    if options.engine not in measuring_engines():
        return None
    return check_speed(
        model, manifest, graph, images, options.engine, allow_slower=options.allow_slower
    )


def _int8_figures(speed: Speed | None) -> dict[str, float]:
    """What the manifest says of the speed: no time, which would make other bytes each time."""
    if speed is None:
        return {}
    return {
        "int8_convolutions": float(speed.coverage.int8),
        "convolutions": float(speed.coverage.total),
    }


def _int8_notes(speed: Speed | None, engine: str) -> dict[str, str]:
    if speed is None:
        return {"speed": f"not measured: {engine} builds its engine on the device"}
    covered, ratio = speed.coverage, speed.timed.ratio
    how = f"; {CLOCKS[speed.timed.clock]}" if CLOCKS[speed.timed.clock] else ""
    return {
        "int8_convolutions": f"{covered.int8} of {covered.total} ({engine})",
        "speed": NOT_MEASURED
        if ratio is None
        else f"{1 / ratio.value:.2f} times that of float ({engine}, here{how})",
    }


def _open_temporary(
    stem: Path, graph: ModelProto, manifest: Manifest, file_format: FileFormat
) -> Session:
    path = stem.with_suffix(file_format.suffix)
    file_format.write(graph, manifest, path)
    return open_session(path)


def check_tolerance(difference: Difference, tolerance: Tolerance) -> None:
    """Raises GateError where an export differs too much from torch."""
    if difference.score > tolerance.score or difference.box_px > tolerance.box_px:
        raise GateError(
            f"the exported graph differs from torch by {difference.score:.1e} of a score and"
            f" {difference.box_px:.3g} px on {difference.images} images ({difference.source});"
            f" allowed are {tolerance.score:.0e} and {tolerance.box_px} px"
        )


def _manifest(parent: Manifest, checkpoint: Path, options: ExportOptions) -> Manifest:
    size = options.image_size if any(options.image_size) else parent.preprocess.size
    check_image_size(size)
    spec = with_task(parent.arch, parent.arch.num_classes, size)
    inputs, outputs = input_output(spec)
    if options.uint8:
        inputs = (TensorInfo(name="images", dtype="uint8", shape=("batch", *size, 3)),)
    if options.nms:
        outputs = _nms_outputs(options.nms, options.nms_config.max_detections, outputs[1])
    kept = {name: value for name, value in parent.metrics.items() if name in ("ap", "ap50")}
    return Manifest(
        kind="onnx",
        arch=spec,
        form=NMS_FORMS.get(options.nms, "deployed"),
        precision=parent.precision,
        quant=parent.quant,
        class_names=parent.class_names,
        preprocess=parent.preprocess.resized(size),
        inputs=inputs,
        outputs=outputs,
        parents=(parent_of(checkpoint),),
        command=command_line("export"),
        data=parent.data,
        class_scope=parent.class_scope,
        score_thresholds=parent.score_thresholds,
        licence=parent.licence,
        weights_source=parent.weights_source,
        versions=versions(TRAINING.package, "onnx", "onnxsim", "onnxslim"),
        metrics={**kept, **cost_metrics(spec)},
    )


def _nms_outputs(form: str, most: int, scores: TensorInfo) -> tuple[TensorInfo, ...]:
    """The outputs of a graph with NMS; it has no more detections than anchors times classes."""
    if form == "flat":
        return (TensorInfo(name="detections", dtype="float32", shape=("rows", 7)),)
    detections = min(most, math.prod(size for size in scores.shape if isinstance(size, int)))
    shapes: dict[str, tuple[str, tuple[int | str, ...]]] = {
        "num_dets": ("int64", ("batch", 1)),
        "det_boxes": ("float32", ("batch", detections, 4)),
        "det_scores": ("float32", ("batch", detections)),
        "det_classes": ("int64", ("batch", detections)),
    }
    return tuple(TensorInfo(name=n, dtype=t, shape=s) for n, (t, s) in shapes.items())


def _raw_manifest(manifest: Manifest) -> Manifest:
    """The manifest of the same graph without NMS."""
    outputs = input_output(manifest.arch)[1]
    return dataclasses.replace(manifest, form="deployed", outputs=outputs)
