"""What a quantization leaves: the INT8 checkpoint, its manifest, its report; other points of it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from detkit.artifact.artifact import Manifest, command_line, parent_of, versions
from detkit.artifact.writing import write_text
from detkit.core.errors import ArtifactError, UsageError
from detkit.core.serialization import to_json
from detkit.engines import ENGINES, TRAINING, measuring_engines
from detkit.inspection.run_folder import read_json_file
from detkit.nn.checkpoint import load_checkpoint, save_checkpoint
from detkit.nn.quantization.quantized import QuantizedDetector
from detkit.quantize.graph_scorer import GraphScorer
from detkit.quantize.mixed_precision import PrecisionPath
from detkit.quantize.request import FloatParent, QuantizeRequest
from detkit.report import QuantPoint, QuantReport

COSTS = tuple(
    f"{figure}{form}" for figure in ("parameters", "macs", "flops") for form in ("", "_training")
)


def make_report(
    model: QuantizedDetector,
    parent: FloatParent,
    request: QuantizeRequest,
    scorer: GraphScorer,
    precision_path: PrecisionPath,
    picked: int,
    methods: dict[str, int],
    *,
    trained: bool,
) -> QuantReport:
    config = request.config
    others = [name for name in measuring_engines() if name != config.target]
    names = [config.target, *(name for name in others if ENGINES[name].is_installed)]
    engines = tuple(scorer.figures(model, engine) for engine in names)
    first = engines[0]
    return QuantReport(
        file=str(request.out),
        parent=str(request.checkpoint),
        method="qat" if trained else "ptq",
        data=str(request.data),
        split=config.split,
        images=len(scorer.records),
        target=config.target,
        ap_float=first.ap_float,
        ap_fake_quant=scorer.ap_in_torch(model),
        ap_int8=first.ap_int8,
        drop=100 * (first.ap_float - first.ap_int8),
        coverage=first.coverage,
        convolutions=first.convolutions,
        kept_float=model.quant.float_groups,
        engines=engines,
        size_ratio=first.bytes / first.float_bytes,
        weight_bits=config.weight_bits,
        calibrator=config.calibrator,
        ranges_by_method=methods,
        calibration_images=model.quant.calibration_images,
        calibration_digest=model.quant.calibration_digest,
        threads=scorer.threads,
        sensitivity=precision_path.sensitivity,
        pareto=precision_path.points,
        licence=parent.manifest.licence,
        weights_source=parent.manifest.weights_source,
        picked=picked,
    )


def make_manifest(
    model: QuantizedDetector, parent: FloatParent, checkpoint: Path, report: QuantReport | None
) -> Manifest:
    figures = {} if report is None else {"ap": report.ap_int8, "ap_float": report.ap_float}
    packages = [ENGINES[name].package for name in measuring_engines()]
    return dataclasses.replace(
        parent.manifest,
        form="deployed",
        precision="int8",
        quant=model.quant,
        parents=(parent_of(checkpoint),),
        command=command_line("quantize"),
        versions=versions(TRAINING.package, "onnx", *packages),
        metrics={**_costs(parent.manifest), **figures},
    )


def _costs(manifest: Manifest) -> dict[str, float]:
    """The parent's figures of size, without those of its accuracy."""
    return {name: manifest.metrics[name] for name in COSTS if name in manifest.metrics}


def pick_again(checkpoint: Path, out: Path, pick: int) -> QuantReport:
    """Writes another point of the table of an INT8 checkpoint; ranges and weights are the same.

    Raises:
        ArtifactError: no INT8 checkpoint, or its report is not beside it.
        UsageError: no such point.
    """
    model, manifest = load_checkpoint(checkpoint)
    beside = report_path(checkpoint)
    if not isinstance(model, QuantizedDetector) or not beside.is_file():
        raise ArtifactError(f"{checkpoint} is no INT8 checkpoint with its report {beside.name}")
    _, report = read_json_file(beside)
    if not isinstance(report, QuantReport):
        raise ArtifactError(f"{beside} is not the report of a quantization")
    if pick >= len(report.pareto):
        raise UsageError(f"--pick {pick}: {beside} has {len(report.pareto)} points, from 0")
    point: QuantPoint = report.pareto[pick]
    model.keep_in_float(point.float_groups)
    metrics = {**manifest.metrics, "ap": point.ap}
    manifest = dataclasses.replace(
        manifest,
        quant=model.quant,
        parents=(parent_of(checkpoint),),
        command=command_line("quantize"),
        metrics=metrics,
    )
    again = dataclasses.replace(
        report,
        file=str(out),
        ap_fake_quant=None,
        ap_int8=point.ap,
        drop=point.drop,
        coverage=_share_in_int8(model, report),
        kept_float=point.float_groups,
        engines=(),
        picked=pick,
    )
    write_result(out, model, manifest, again)
    return again


def _share_in_int8(model: QuantizedDetector, report: QuantReport) -> float:
    """The share of all convolutions that are INT8, counted as when the report was made."""
    return sum(not conv.in_float for _, conv in model.convolutions()) / report.convolutions


def write_result(
    out: Path, model: QuantizedDetector, manifest: Manifest, report: QuantReport
) -> None:
    """Writes the checkpoint, then the report beside it."""
    save_checkpoint(out, model, manifest)
    write_text(report_path(out), to_json(report) + "\n")


def report_path(out: Path) -> Path:
    """The path of the report, which lies beside its checkpoint."""
    return out.with_suffix(".json")
