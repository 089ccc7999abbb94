"""From a float checkpoint to an INT8 one that has been measured: the order of the steps.

Calibrate, or train from the calibrated ranges; measure on the engine; where a bound on the drop is
given, return groups to float until it holds; write the checkpoint and its report beside it. Nothing
is written where the bound cannot be met.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch

from detkit.artifact import Manifest, command_line, parent_of, versions, write_text
from detkit.bench.fingerprint import usable_cpus
from detkit.codec import from_json, to_json
from detkit.config import QuantizeConfig
from detkit.data.coco import CocoFolder, open_folder, require_usable
from detkit.errors import (
    ArtifactError,
    BackendError,
    DataError,
    GateError,
    UsageError,
    did_you_mean,
)
from detkit.nn.checkpoint import load_checkpoint, save_checkpoint
from detkit.nn.detector import Detector, fuse
from detkit.nn.quantized import QuantizedDetector
from detkit.quantize.bound import Walk, walk_to_bound
from detkit.quantize.calibrate import (
    correct_biases,
    load_pictures,
    observe,
    pictures_digest,
    set_ranges,
    spread,
)
from detkit.quantize.qat import Course, load_quantized, load_start, train_quantized
from detkit.quantize.rig import BATCH_SIZE, Rig
from detkit.quantize.sensitivity import noise_by_group
from detkit.report import QuantPoint, QuantReport
from detkit.spec.quant import QuantSpec
from detkit.train.loop import Interruption
from detkit.train.progress import Progress

COSTS = tuple(
    f"{figure}{form}" for figure in ("parameters", "macs", "flops") for form in ("", "_training")
)
ENGINES = ("onnxruntime", "openvino")  # that run INT8 graphs on this machine


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the user asked for. `max_drop` is in points of AP; None sets no bound.

    `pick` is the index of a point in the table to take in place of the first that holds.
    """

    checkpoint: Path
    out: Path
    data: Path
    config: QuantizeConfig
    max_drop: float | None = None
    pick: int | None = None
    qat: bool = False
    resume: bool = False  # an interrupted QAT run
    force: bool = False

    @property
    def run_folder(self) -> Path:
        """Where QAT keeps its state."""
        return self.out.with_suffix(".qat")


@dataclass(frozen=True, kw_only=True)
class Parent:
    """The float side: the checkpoint, fused, and its pictures."""

    manifest: Manifest
    model: Detector
    folder: CocoFolder


def quantize(
    request: Request,
    tell: Callable[[str], None],
    notify: Callable[[Progress], None],
    interruption: Interruption,
) -> QuantReport | None:
    """Writes `request.out` and its report; None where training was interrupted.

    Raises:
        ArtifactError: not a float detkit checkpoint.
        DataError: no pictures to calibrate or to score on, or classes of another model.
        GateError: the bound on the drop cannot be met; nothing is written.
        BackendError: the target engine is not installed.
    """
    config = request.config
    parent = open_parent(request)
    torch.set_num_threads(config.threads or usable_cpus())
    split = parent.folder.splits[config.split]
    records = spread(split.records, config.eval_images or len(split.records))
    with Rig(
        parent.model,
        parent.manifest,
        records,
        split.class_names,
        threads=config.threads or usable_cpus(),
    ) as rig:
        model, methods = calibrated(parent, request, tell)
        trained = False
        if request.qat:
            course = Course(
                folder=request.run_folder,
                resume=request.resume,
                force=request.force,
                notify=notify,
                interruption=interruption,
            )
            found = train_from(model, parent, request, course, rig, tell)
            if found is None:
                return None
            model, trained = found
        walk = _bound(model, parent, request, rig, tell)
        picked = _pick(walk, request)
        model.keep_in_float(walk.points[picked].float_groups)
        report = _report(model, parent, request, rig, walk, picked, methods, trained=trained)
    save_checkpoint(request.out, model, _manifest(model, parent, request.checkpoint, report))
    write_text(report_path(request.out), to_json(report) + "\n")
    return report


def describe(request: Request) -> list[str]:
    """What would be done, for --dry-run; the same checks are made."""
    parent, config = open_parent(request), request.config
    spec, splits = parent.manifest.arch, parent.folder.splits
    method = f"QAT of {config.qat.epochs} epochs" if request.qat else "PTQ"
    bound = "" if request.max_drop is None else f", at most {request.max_drop:g} points lost"
    return [
        f"{request.checkpoint} ({spec.name}, {spec.num_classes} classes) -> {request.out}",
        f"{method}, calibrator {config.calibrator} on"
        f" {min(config.images, len(splits['train'].records))} training pictures, scored on"
        f" {len(splits[config.split].records)} of {config.split} with {config.target}{bound}",
    ]


def report_path(out: Path) -> Path:
    """The report lies beside its checkpoint."""
    return out.with_suffix(".json")


def open_parent(request: Request) -> Parent:
    """Loads and checks what is quantized and what it is calibrated and scored on."""
    if request.config.target not in ENGINES:
        raise UsageError(
            f"INT8 cannot be measured on target '{request.config.target}'",
            hint=did_you_mean(request.config.target, ENGINES)
            + "; the checkpoint is the same for every target of `detkit export --target`",
        )
    if find_spec(request.config.target) is None:
        raise BackendError(
            f"{request.config.target} is not installed", hint=f"pip install {request.config.target}"
        )
    model, manifest = load_checkpoint(request.checkpoint)
    if manifest.quant is not None:
        raise ArtifactError(
            f"{request.checkpoint} is INT8 already", hint="quantize its float parent"
        )
    folder = open_folder(request.data, splits=("train", request.config.split))
    require_usable(folder, max_dropped_share=request.config.max_dropped)
    names = folder.splits["train"].class_names
    if names != manifest.class_names:
        raise DataError(
            f"{request.data} has other classes ({', '.join(names[:5])}) than the model"
            f" ({', '.join(manifest.class_names[:5])})"
        )
    fused = fuse(model.eval()) if manifest.form == "training" else model.eval()
    return Parent(manifest=manifest, model=fused.requires_grad_(False), folder=folder)


def calibrated(
    parent: Parent, request: Request, tell: Callable[[str], None]
) -> tuple[QuantizedDetector, dict[str, int]]:
    """The parent with ranges from pictures, and how many of them are by which method."""
    config = request.config
    if request.resume:
        return load_start(request.run_folder)[0].eval(), {}
    records = spread(parent.folder.splits["train"].records, config.images)
    tell(f"calibrating on {len(records)} of the training pictures")
    quant = QuantSpec(
        weight_bits=config.weight_bits,
        calibrator=config.calibrator,
        learned_scales=config.qat.learned_scales and request.qat,
        calibration_images=len(records),
        calibration_digest=pictures_digest(records),
    )
    model = QuantizedDetector(parent.model, quant).eval()
    found = observe(model, load_pictures(records, parent.manifest.preprocess, BATCH_SIZE))
    methods = set_ranges(model, found, config.calibrator)
    if config.bias_correction:
        correct_biases(model, found)
    return model, methods


def train_from(
    model: QuantizedDetector,
    parent: Parent,
    request: Request,
    course: Course,
    rig: Rig,
    tell: Callable[[str], None],
) -> tuple[QuantizedDetector, bool] | None:
    """The better of the trained and the calibrated network on the exported graph.

    None where training was interrupted.
    """
    config = request.config
    before = rig.ap(rig.draft(model, config.target).session)
    tell(f"calibrated: AP {before:.4f}; training {config.qat.epochs} epochs from there")
    start = _manifest(model, parent, request.checkpoint, None)
    report = train_quantized(
        model,
        start,
        parent.model,
        parent=request.checkpoint,
        data=parent.folder,
        config=config,
        rig=rig,
        course=course,
    )
    if report.stopped_by == "signal":
        return None
    if report.ap < before:
        tell(f"training's best epoch (AP {report.ap:.4f}) is below it: calibration alone is kept")
        return load_start(course.folder)[0].eval(), False
    return load_quantized(Path(report.checkpoint))[0].eval(), True


def _bound(
    model: QuantizedDetector,
    parent: Parent,
    request: Request,
    rig: Rig,
    tell: Callable[[str], None],
) -> Walk:
    """The groups' noise and the points walked; one point where no bound is given."""
    config = request.config
    records = spread(parent.folder.splits["train"].records, config.noise_images)
    batches = list(load_pictures(records, parent.manifest.preprocess, BATCH_SIZE))
    tell(f"noise of {len(model.plan.groups)} groups on {len(records)} pictures")
    return walk_to_bound(
        model,
        noise_by_group(model, batches),
        rig,
        config.target,
        max_drop=float("inf") if request.max_drop is None else request.max_drop,
        confirm=config.confirm,
        tell=tell,
    )


def _pick(walk: Walk, request: Request) -> int:
    """The point asked for, or the last one walked.

    Raises:
        UsageError: no such point.
        GateError: the bound holds at none.
    """
    if request.pick is not None:
        if request.pick >= len(walk.points):
            raise UsageError(f"--pick {request.pick}: there are {len(walk.points)} points, from 0")
        return request.pick
    last = walk.points[-1]
    if request.max_drop is not None and last.drop > request.max_drop:
        best = min(walk.points, key=lambda point: point.drop)
        raise GateError(
            f"INT8 loses {walk.points[0].drop:.2f} points of AP; the best point found loses"
            f" {best.drop:.2f} with {len(best.float_groups)} groups in float"
            f" ({best.latency_ms:.2f} ms); allowed are {request.max_drop:g}",
            hint=f"--qat trains it; --pick {walk.points.index(best)} takes that point",
        )
    return len(walk.points) - 1


def _report(
    model: QuantizedDetector,
    parent: Parent,
    request: Request,
    rig: Rig,
    walk: Walk,
    picked: int,
    methods: dict[str, int],
    *,
    trained: bool,
) -> QuantReport:
    config = request.config
    runtimes = [config.target, *(e for e in ENGINES if e != config.target and find_spec(e))]
    engines = tuple(rig.figures(model, runtime) for runtime in runtimes)
    first = engines[0]
    return QuantReport(
        file=str(request.out),
        parent=str(request.checkpoint),
        method="qat" if trained else "ptq",
        data=str(request.data),
        split=config.split,
        images=len(rig.records),
        target=config.target,
        ap_float=first.ap_float,
        ap_fake_quant=rig.ap_in_torch(model),
        ap_int8=first.ap_int8,
        drop=100 * (first.ap_float - first.ap_int8),
        coverage=first.coverage,
        kept_float=model.quant.float_groups,
        engines=engines,
        size_ratio=first.bytes / first.float_bytes,
        weight_bits=config.weight_bits,
        calibrator=config.calibrator,
        ranges_by_method=methods,
        calibration_images=model.quant.calibration_images,
        calibration_digest=model.quant.calibration_digest,
        threads=rig.threads,
        sensitivity=walk.sensitivity,
        pareto=walk.points,
        picked=picked,
    )


def _manifest(
    model: QuantizedDetector, parent: Parent, checkpoint: Path, report: QuantReport | None
) -> Manifest:
    figures = {} if report is None else {"ap": report.ap_int8, "ap_float": report.ap_float}
    return dataclasses.replace(
        parent.manifest,
        form="deployed",
        precision="int8",
        quant=model.quant,
        parents=(parent_of(checkpoint),),
        command=command_line("quantize"),
        versions=versions("torch", "onnx", "onnxruntime", "openvino"),
        metrics={**_costs(parent.manifest), **figures},
    )


def _costs(manifest: Manifest) -> dict[str, float]:
    """The figures of size; those of accuracy are the parent's own."""
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
    report = from_json(QuantReport, beside.read_text(encoding="utf-8"), where=beside.name)
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
    save_checkpoint(out, model, manifest)
    again = dataclasses.replace(
        report,
        file=str(out),
        ap_int8=point.ap,
        drop=point.drop,
        kept_float=point.float_groups,
        picked=pick,
    )
    write_text(report_path(out), to_json(again) + "\n")
    return again
