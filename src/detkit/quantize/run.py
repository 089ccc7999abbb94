"""From a float checkpoint to an INT8 one that has been measured: the order of the steps.

Calibrate; leave in float what INT8 would ruin; train from there where asked to; measure on the
engine; where a bound on the drop is given, return groups to float until it holds; write the
checkpoint and its report beside it. Nothing is written where the bound cannot be met.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from detkit.artifact.artifact import Manifest
from detkit.core.boxes import Array
from detkit.core.errors import GateError, UsageError
from detkit.core.run_lock import Holder, check_unlocked, killed_note, locked_folder
from detkit.data.coco.folder import require_boxes
from detkit.machine.fingerprint import usable_cpus
from detkit.nn.quantization.quantized import QuantizedDetector
from detkit.quantize.calibrate import (
    CalibrationStats,
    collapsed,
    collect_stats,
    correct_biases,
    images_digest,
    load_images,
    set_ranges,
    subsample_evenly,
)
from detkit.quantize.graph_scorer import BATCH_SIZE, GraphScorer
from detkit.quantize.image_content import ImageContent
from detkit.quantize.mixed_precision import ms_text, search_mixed_precision, too_noisy
from detkit.quantize.qat import (
    QatRun,
    begin_run,
    goes_on,
    load_quantized,
    load_start,
    train_quantized,
)
from detkit.quantize.request import FloatParent, QuantizeRequest, open_parent
from detkit.quantize.result import make_manifest, make_report, write_result
from detkit.quantize.sensitivity import set_quietest_ranges, sqnr_by_group
from detkit.report import QuantPoint, QuantReport, TrainReport
from detkit.spec.quant import QuantSpec
from detkit.train import ranks
from detkit.train.progress import TrainProgress
from detkit.train.stop import StopSignal


def quantize_checkpoint(
    request: QuantizeRequest,
    log: Callable[[str], None],
    on_progress: Callable[[TrainProgress], None],
    stop: StopSignal,
    warn: Callable[[str], None],
) -> QuantReport | None:
    """Writes `request.out` and its report; None where training was interrupted.

    None as well in all processes of a run but the first (see `train.ranks`): they train with it.

    Args:
        warn: takes what nobody should overlook.

    Raises:
        UsageError: a training under way in its folder, or one that cannot be resumed.
        ArtifactError: not a float detkit checkpoint.
        DataError: no images to calibrate or to score on, or classes of another model.
        GateError: the bound on the drop cannot be met; nothing is written.
        BackendError: the target engine is not installed.
    """
    if not request.qat:
        if ranks.is_shared():
            raise UsageError(
                f"{ranks.world()} processes of torchrun can share the training of --qat",
                hint="run it without torchrun",
            )
        return _quantize(request, None, log, warn)
    if not ranks.is_first():
        _take_part(request, stop)
        return None
    with locked_folder(request.run_folder) as killed:
        resume = _goes_on(request, killed)
        if killed:
            log(killed_note(killed))
        run = QatRun(
            folder=request.run_folder,
            resume=resume,
            on_progress=on_progress,
            warn=warn,
            stop=stop,
        )
        return _quantize(dataclasses.replace(request, resume=resume), run, log, warn)


def _goes_on(request: QuantizeRequest, killed: Holder | None) -> bool:
    """Whether the training goes on from an earlier one; see `qat.goes_on`."""
    return goes_on(
        request.run_folder,
        request.config,
        data=request.data,
        resume=request.resume,
        force=request.force,
        killed=killed,
    )


def _quantize(
    request: QuantizeRequest,
    run: QatRun | None,
    log: Callable[[str], None],
    warn: Callable[[str], None],
) -> QuantReport | None:
    """Quantizes, with a training where there is a `run`; None where that was interrupted."""
    config = request.config
    parent = open_parent(request)
    torch.set_num_threads(config.threads or usable_cpus())
    split = parent.folder.splits[config.split]
    records = subsample_evenly(split.records, config.eval_images or len(split.records))
    with GraphScorer(
        parent.model,
        parent.manifest,
        records,
        split.class_names,
        threads=config.threads or usable_cpus(),
    ) as scorer:
        model, methods, noise_db = prepared(parent, request, log, warn)
        trained = False
        if run is not None:
            found = train_from(model, parent, request, run, scorer, log)
            if found is None:
                return None
            model, trained = found
            if trained or request.resume:
                noise_db = _noise_of_groups(model, _noise_batches(parent, request), log)
        precision_path = search_mixed_precision(
            model,
            noise_db,
            scorer,
            config.target,
            max_drop=float("inf") if request.max_drop is None else request.max_drop,
            confirm=config.confirm,
            always=model.quant.float_groups,
            log=log,
        )
        picked = _pick(precision_path.points, request)
        model.keep_in_float(precision_path.points[picked].float_groups)
        report = make_report(
            model, parent, request, scorer, precision_path, picked, methods, trained=trained
        )
    manifest = make_manifest(model, parent, request.checkpoint, report)
    write_result(request.out, model, manifest, report)
    return report


def _take_part(request: QuantizeRequest, stop: StopSignal) -> None:
    """What processes other than the first do: their part of the training, from the same network."""
    config = request.config
    resume = ranks.hear_first()
    parent = open_parent(request)
    model, start = load_start(request.run_folder)
    split = parent.folder.splits[config.split]
    run = QatRun(
        folder=request.run_folder,
        resume=resume,
        on_progress=lambda _: None,
        warn=lambda _: None,
        stop=stop,
    )
    threads = config.threads or ranks.threads_per_process()
    with GraphScorer(
        parent.model, parent.manifest, split.records, split.class_names, threads=threads
    ) as scorer:
        _train(model.eval(), start, parent, request, scorer, run)
    ranks.leave()


def _train(
    model: QuantizedDetector,
    start: Manifest,
    parent: FloatParent,
    request: QuantizeRequest,
    scorer: GraphScorer,
    run: QatRun,
) -> TrainReport:
    return train_quantized(
        model,
        start,
        parent.model,
        parent=request.checkpoint,
        data=parent.folder,
        config=request.config,
        scorer=scorer,
        run=run,
    )


def planned_steps(request: QuantizeRequest) -> list[str]:
    """Says what would be done, for --dry-run; the same checks are made."""
    if request.qat:
        check_unlocked(request.run_folder)
        _goes_on(request, None)
    parent, config = open_parent(request), request.config
    spec, splits = parent.manifest.arch, parent.folder.splits
    require_boxes(splits[config.split].records, f"'{config.split}' of {request.data}")
    method = f"QAT of {config.qat.epochs} epochs" if request.qat else "PTQ"
    bound = "" if request.max_drop is None else f", at most {request.max_drop:g} points lost"
    return [
        f"{request.checkpoint} ({spec.name}, {spec.num_classes} classes) -> {request.out}",
        f"{method}, calibrator {config.calibrator} on"
        f" {min(config.images, len(splits['train'].records))} training images, scored on"
        f" {len(splits[config.split].records)} of {config.split} with {config.target}{bound}",
    ]


def prepared(
    parent: FloatParent,
    request: QuantizeRequest,
    log: Callable[[str], None],
    warn: Callable[[str], None],
) -> tuple[QuantizedDetector, dict[str, int], dict[str, float]]:
    """The parent calibrated, with what INT8 would ruin in float.

    Also how many ranges are by which method, and the SQNR of each group alone, in decibels: of a
    training that goes on neither, as all was chosen when it began.
    """
    config = request.config
    if request.resume:
        return load_start(request.run_folder)[0].eval(), {}, {}
    batches = _noise_batches(parent, request)
    model, stats, methods = calibrated(parent, request, log, warn)
    noise_db = _noise_of_groups(model, batches, log)
    _leave_in_float(model, noise_db, config.least_sqnr, log)
    if config.calibrator == "auto":  # with those in float, lest their noise hides all other
        better = set_quietest_ranges(model, stats, batches)
        if better is not None:
            log(f"ranges by {', '.join(better)} leave less noise at the outputs")
            methods, noise_db = better, _noise_of_groups(model, batches, log)
            _leave_in_float(model, noise_db, config.least_sqnr, log)
    return model, methods, noise_db


def calibrated(
    parent: FloatParent,
    request: QuantizeRequest,
    log: Callable[[str], None],
    warn: Callable[[str], None],
) -> tuple[QuantizedDetector, CalibrationStats, dict[str, int]]:
    """The parent with calibrated ranges, what they are from, and how many by which method.

    Raises:
        DataError: images that no range can be taken from.
        ArtifactError: a network that no range can be taken from.
    """
    config = request.config
    records = subsample_evenly(
        parent.folder.splits["train"].records, config.images, seed=config.seed
    )
    log(f"calibrating on {len(records)} of the training images")
    quant = QuantSpec(
        weight_bits=config.weight_bits,
        calibrator=config.calibrator,
        learned_scales=config.qat.learned_scales and request.qat,
        calibration_images=len(records),
        calibration_digest=images_digest(records),
    )
    model = QuantizedDetector(parent.model, quant).eval()
    content = ImageContent(parent.manifest.preprocess)
    stats = collect_stats(model, content.load(records, BATCH_SIZE))
    for text in content.warnings():
        warn(text)
    if zeros := collapsed(stats):
        warn(f"{len(zeros)} tensors are zero on all calibration images ({zeros[0]}, ...)")
    methods = set_ranges(model, stats, config.calibrator)
    if config.bias_correction:
        correct_biases(model, stats)
    return model, stats, methods


def train_from(
    model: QuantizedDetector,
    parent: FloatParent,
    request: QuantizeRequest,
    run: QatRun,
    scorer: GraphScorer,
    log: Callable[[str], None],
) -> tuple[QuantizedDetector, bool] | None:
    """Trains, and picks the better of the trained and the calibrated network by exported graph.

    None where training was interrupted.
    """
    config = request.config
    before = scorer.ap(scorer.export(model, config.target).session)
    log(f"calibrated: AP {before:.4f}; training {config.qat.epochs} epochs from there")
    start = make_manifest(model, parent, request.checkpoint, None)
    begin_run(model, start, run)
    report = _train(model, start, parent, request, scorer, run)
    ranks.leave()  # what follows is done by one process
    if report.stopped_by == "signal":
        return None
    ap = report.ap or 0.0  # it is defined, as it was before training
    if ap < before:
        log(f"training's best epoch (AP {ap:.4f}) is below it: calibration alone is kept")
        return load_start(run.folder)[0].eval(), False
    return load_quantized(Path(report.checkpoint))[0].eval(), True


def _noise_batches(parent: FloatParent, request: QuantizeRequest) -> list[Array]:
    """The training images that noise is measured on, as batches."""
    records = subsample_evenly(parent.folder.splits["train"].records, request.config.noise_images)
    return list(load_images(records, parent.manifest.preprocess, BATCH_SIZE))


def _noise_of_groups(
    model: QuantizedDetector, batches: Sequence[Array], log: Callable[[str], None]
) -> dict[str, float]:
    log(f"noise of {len(model.plan.groups)} groups on {sum(map(len, batches))} images")
    return sqnr_by_group(model, batches)


def _leave_in_float(
    model: QuantizedDetector,
    noise_db: dict[str, float],
    least_db: float,
    log: Callable[[str], None],
) -> None:
    """Keeps in float what would be little but noise in INT8, and says so."""
    kept = too_noisy(noise_db, least_db)
    model.keep_in_float(kept)
    for group in kept:
        log(
            f"{group} stays in float: INT8 of it alone leaves {noise_db[group]:.1f} dB of signal to"
            f" noise (least_sqnr={least_db:g})"
        )


def _pick(points: Sequence[QuantPoint], request: QuantizeRequest) -> int:
    """The index of the point asked for, or of the last one measured.

    Raises:
        UsageError: no such point.
        GateError: the bound holds at none.
    """
    if request.pick is not None:
        if request.pick >= len(points):
            raise UsageError(f"--pick {request.pick}: there are {len(points)} points, from 0")
        return request.pick
    last = points[-1]
    if request.max_drop is not None and last.drop > request.max_drop:
        best = min(points, key=lambda point: point.drop)
        raise GateError(
            f"INT8 loses {points[0].drop:.2f} points of AP; the best point found loses"
            f" {best.drop:.2f} with {len(best.float_groups)} groups in float"
            f" ({ms_text(best.latency_ms)}); allowed are {request.max_drop:g}",
            hint=f"--qat trains it; --pick {points.index(best)} takes that point",
        )
    return len(points) - 1
