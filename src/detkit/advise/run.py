"""Makes the variants of a checkpoint, scores each on the validation split, times all in turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from detkit.advise.metrics import ap_by_folds, make_variants
from detkit.advise.recommend import VariantLimits, commands, recommend
from detkit.advise.variants import OpenVariant, VariantSources, open_variants, size
from detkit.artifact.writing import temporary_folder
from detkit.config import QuantizeConfig
from detkit.core.boxes import EVAL_NMS
from detkit.data.coco.split_reader import ImageRecord
from detkit.engines import ENGINES, engine_packages
from detkit.evaluation.evaluate import detect
from detkit.machine.fingerprint import fingerprint, usable_cpus
from detkit.quantize.calibrate import subsample_evenly
from detkit.quantize.graph_scorer import BATCH_SIZE, GraphScorer, timing_inputs
from detkit.quantize.request import FloatParent, QuantizeRequest, open_parent
from detkit.quantize.run import calibrated
from detkit.report import AdviceReport, Variant
from detkit.runtime.session import SessionOptions
from detkit.timing.cpu_time import clock_of
from detkit.timing.measure import Timing, cycle_inputs, measure
from detkit.timing.plan import VARIANT_PLAN
from detkit.timing.validity import cpu_use, load_warnings


@dataclass(frozen=True, kw_only=True)
class AdviseRequest:
    """A question to `advise`: which variant of the checkpoint to ship within the limits."""

    checkpoint: Path
    data: Path
    limits: VariantLimits
    threads: int  # 0 is all usable CPUs


@dataclass(frozen=True, kw_only=True)
class MeasuredVariants:
    """The variants, why others are `absent`, and `warnings` where the times are unreliable."""

    variants: tuple[Variant, ...]
    absent: dict[str, str]
    images: int
    warnings: tuple[str, ...]


def find_advice(
    request: AdviseRequest, log: Callable[[str], None], warn: Callable[[str], None]
) -> AdviceReport:
    """Recommends a variant, INT8 by calibration alone; nothing is left on disk.

    `warn` takes what nobody should overlook.

    Raises:
        ArtifactError: not a float detkit checkpoint.
        DataError: no images to calibrate or to score on, or classes of another model.
    """
    config = QuantizeConfig(threads=request.threads or usable_cpus())
    with temporary_folder() as folder:
        quantize_request = QuantizeRequest(
            checkpoint=request.checkpoint,
            out=folder / "int8.safetensors",
            data=request.data,
            config=config,
        )
        found = measure_variants(open_parent(quantize_request), quantize_request, log, warn)
    decision = recommend(found.variants, request.limits, images=found.images)
    variant = None if decision.chosen is None else decision.variants[decision.chosen]
    return AdviceReport(
        checkpoint=str(request.checkpoint),
        data=str(request.data),
        split=config.split,
        images=found.images,
        max_drop=request.limits.max_drop,
        max_ms=request.limits.max_ms,
        variants=decision.variants,
        chosen=decision.chosen,
        advice=decision.advice,
        commands=commands(variant, request.checkpoint, request.data) if variant else (),
        absent=found.absent,
        threads=config.threads,
        valid=not found.warnings,
        warnings=found.warnings,
        fingerprint=fingerprint(engine_packages()),
    )


def measure_variants(
    parent: FloatParent,
    quantize_request: QuantizeRequest,
    log: Callable[[str], None],
    warn: Callable[[str], None],
) -> MeasuredVariants:
    """Makes, times and scores every variant that runs here."""
    split = parent.folder.splits[quantize_request.config.split]
    records = subsample_evenly(split.records, quantize_request.config.eval_images)
    names, threads = split.class_names, quantize_request.config.threads
    with GraphScorer(parent.model, parent.manifest, records, names, threads=threads) as scorer:
        sources = VariantSources(
            checkpoint=quantize_request.checkpoint,
            parent=parent,
            int8=calibrated(parent, quantize_request, log, warn)[0],
            scorer=scorer,
            folder=quantize_request.out.parent,
        )
        opened, absent = open_variants(sources, log)
        before = cpu_use()
        log(f"timing {len(opened)} variants in turns")
        timings = time_in_turns(opened, records, threads)
        warnings = tuple(warning.message for warning in load_warnings(before, cpu_use()))
        log(f"scoring them on {len(records)} images of {split.name}")
        aps = []
        for variant in opened:
            found = detect(variant.graph.session, records, batch_size=BATCH_SIZE, nms=EVAL_NMS)
            aps.append(ap_by_folds(records, names, found))
        variants = make_variants(
            [(variant.engine, variant.precision) for variant in opened],
            timings,
            aps,
            [size(variant) for variant in opened],
        )
    return MeasuredVariants(
        variants=variants, absent=absent, images=len(records), warnings=warnings
    )


def time_in_turns(
    opened: Sequence[OpenVariant], records: Sequence[ImageRecord], threads: int
) -> list[Timing]:
    """Times the variants interleaved, one image a run; by CPU time where one thread works."""
    inputs = timing_inputs(records, opened[0].graph.session.manifest.preprocess)
    calls = [cycle_inputs(variant.graph.session.run, inputs) for variant in opened]
    on_cpu = not any(ENGINES[variant.engine].build for variant in opened)
    clock = clock_of(SessionOptions(threads=threads)) if on_cpu else time.perf_counter
    return measure(calls, VARIANT_PLAN, clock)
