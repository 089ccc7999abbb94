"""Models, pictures and a plan -> a BenchReport: engine time, end-to-end time, and their worth.

Engine time is measured on inputs already in the engine's form, and copies to and from its device
are part of it; end-to-end time goes from a picture file to detections, stage by stage. Inputs are
pictures, never zeros, and no two runs in a row get the same one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from detkit.artifact import sha256_of, size_of
from detkit.bench.fingerprint import cpu_use, disturbances, fingerprint, usable_cpus
from detkit.bench.measure import (
    Clock,
    Plan,
    Timing,
    latency_stats,
    measure,
    measure_chain,
    paired_ratio,
)
from detkit.boxes import PREDICT_NMS, Array, Detections
from detkit.data.draw import save_picture
from detkit.data.listing import find_pictures
from detkit.data.picture import letterbox, network_input, network_pixels, read_image
from detkit.data.synth import draw_pictures
from detkit.errors import DataError
from detkit.report import BenchReport, EndToEnd, ModelLatency
from detkit.runtime import (
    Pixels,
    Placement,
    RawOutputs,
    Session,
    SuppressedOutputs,
    infer,
    open_session,
    takes_pixels,
)
from detkit.spec.foreign import ForeignSpec

NUM_PICTURES = 8  # different ones, in turn
MAX_BLOCK_SPREAD = 0.05
MIN_RUNS_FOR_P99 = 100


@dataclass(frozen=True)
class Candidate:
    """One model opened, with the picture files it is fed from."""

    path: Path
    session: Session
    files: tuple[Path, ...]
    batch: int

    def prepare(self, number: int) -> Array | Pixels:
        """Decodes and letterboxes the batch of this number, in the form the engine takes."""
        chosen = _batch_of(self.files, self.batch, number)
        preprocess = self.session.manifest.preprocess
        pictures = [letterbox(read_image(path), preprocess)[0] for path in chosen]
        if takes_pixels(self.session.manifest):
            return network_pixels(pictures, preprocess)
        return network_input(pictures, preprocess)

    def engine(self, images: Array | Pixels) -> RawOutputs | SuppressedOutputs:
        return infer(self.session, images)


def bench(
    paths: Sequence[Path],
    *,
    runtime: str = "",
    placement: Placement | None = None,
    batch: int = 1,
    plan: Plan | None = None,
    data: Path | None = None,
    foreign: Mapping[Path, ForeignSpec] | None = None,
    clock: Clock = time.perf_counter,
    tell: Callable[[str], None] = lambda _: None,
) -> BenchReport:
    """Times the models side by side.

    Args:
        placement: with `threads` 0 every engine gets all usable CPUs, so that they are comparable.
        data: a folder of pictures; by default the one the first model was trained on, if it is
            still there, else drawn pictures.
        foreign: what each of the models that another tool made takes and gives.
        tell: called with a line on what happens next.

    Raises:
        ArtifactError: a file that cannot be opened, or not be run at this batch size.
        BackendError: a runtime or device that is not here.
        DataError: no pictures.
    """
    plan, placement = plan or Plan(), placement or Placement()
    placement = dataclasses.replace(placement, threads=placement.threads or usable_cpus())
    specs = foreign or {}
    sessions = [
        open_session(path, runtime=runtime, placement=placement, foreign=specs.get(path))
        for path in paths
    ]
    with picture_files(data or _trained_on(sessions[0])) as (files, source):
        tell(f"{len(files)} pictures from {source}")
        models = [Candidate(path, s, files, batch) for path, s in zip(paths, sessions, strict=True)]
        before = cpu_use()
        tell(f"engines: warm-up, then at least {plan.min_seconds:g} s and {plan.min_runs} runs")
        timings = measure([_engine_run(model) for model in models], plan, clock)
        tell(f"end to end: {plan.chain_runs} runs")
        chains = [_measure_end_to_end(model, plan, clock) for model in models]
        reasons = (*_doubts(models, timings), *disturbances(before, cpu_use()))
    return BenchReport(
        models=tuple(
            _model_latency(model, placement, timing, timings[0], chain)
            for model, timing, chain in zip(models, timings, chains, strict=True)
        ),
        pictures=source,
        fingerprint=fingerprint(),
        valid=not reasons,
        reasons=reasons,
    )


def _engine_run(model: Candidate) -> Callable[[int], object]:
    """The engine alone, on inputs prepared beforehand."""
    inputs = [model.prepare(number) for number in range(_distinct_batches(model))]
    return lambda index: model.engine(inputs[index % len(inputs)])


def _batch_of(files: Sequence[Path], size: int, number: int) -> list[Path]:
    """The files in turn; neighbouring batches differ, also where each holds every file."""
    step = size if size % len(files) else size + 1
    return [files[(number * step + i) % len(files)] for i in range(size)]


def _distinct_batches(model: Candidate) -> int:
    """At least 2, at most so many that every picture is used once."""
    return max(2, len(model.files) // model.batch)


def _measure_end_to_end(model: Candidate, plan: Plan, clock: Clock) -> EndToEnd:
    def suppress(outputs: RawOutputs | SuppressedOutputs) -> list[Detections]:
        return outputs.detections(PREDICT_NMS)

    stages: tuple[Callable[[Any], Any], ...] = (model.prepare, model.engine, suppress)
    rows = measure_chain(stages, plan.chain_runs, clock)
    preprocess, engine, nms = (median(column) for column in zip(*rows, strict=True))
    total = latency_stats([sum(row) for row in rows])
    return EndToEnd(
        preprocess=preprocess,
        engine=engine,
        nms=nms,
        total=total.p50,
        total_p90=total.p90,
        total_p99=total.p99,
    )


def _model_latency(
    model: Candidate, placement: Placement, timing: Timing, first: Timing, chain: EndToEnd
) -> ModelLatency:
    manifest, stats = model.session.manifest, latency_stats(timing.samples_ms)
    return ModelLatency(
        file=str(model.path),
        sha256=sha256_of(model.path),
        bytes=size_of(model.path),
        runtime=model.session.runtime,
        precision=manifest.precision,
        form=manifest.form,
        device=placement.device,
        image_size=manifest.preprocess.size,
        batch=model.batch,
        threads=placement.threads,
        latency_ms=stats,
        end_to_end_ms=chain,
        images_per_s=model.batch / stats.p50 * 1e3,
        ratio_to_first=paired_ratio(timing, first),
        block_spread=timing.block_spread,
        warmup_runs=timing.warmup.runs,
        samples_ms=tuple(round(sample, 4) for sample in timing.samples_ms),
    )


def _doubts(models: Sequence[Candidate], timings: Sequence[Timing]) -> Iterator[str]:
    """What the times themselves say against trusting them."""
    for model, timing in zip(models, timings, strict=True):
        name = model.path.name
        if not timing.warmup.steady:
            yield f"{name}: still getting faster after {timing.warmup.runs} warm-up runs"
        if timing.block_spread > MAX_BLOCK_SPREAD:
            yield (
                f"{name}: blocks differ by {timing.block_spread:.0%} (limit {MAX_BLOCK_SPREAD:.0%})"
            )
        if len(timing.samples_ms) < MIN_RUNS_FOR_P99:
            yield f"{name}: p99 of {len(timing.samples_ms)} runs is little more than the slowest"


# --- pictures ------------------------------------------------------------------------------------


def _trained_on(session: Session) -> Path | None:
    folder = Path(session.manifest.data)
    return folder if session.manifest.data and folder.is_dir() else None


@contextlib.contextmanager
def picture_files(folder: Path | None) -> Iterator[tuple[tuple[Path, ...], str]]:
    """Up to `NUM_PICTURES` files spread over the folder, or drawn ones; and what they are.

    Raises:
        DataError: fewer than two pictures in the folder.
    """
    if folder is not None:
        found = find_pictures([folder])
        if len(found) < 2:
            raise DataError(f"{folder}: to time on, at least two different pictures are needed")
        yield tuple(found[:: max(1, len(found) // NUM_PICTURES)][:NUM_PICTURES]), str(folder)
        return
    with tempfile.TemporaryDirectory(prefix="detkit-bench-") as name:
        files = [Path(name) / f"{number}.jpg" for number in range(NUM_PICTURES)]
        for path, picture in zip(files, draw_pictures(NUM_PICTURES, size=640), strict=True):
            save_picture(path, picture)
        yield tuple(files), "drawn pictures"
