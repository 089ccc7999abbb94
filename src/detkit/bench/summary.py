"""The row of a model in the report, from what was measured of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

from detkit.artifact.artifact import sha256_of, size_of
from detkit.bench.timed_model import TimedModel
from detkit.core.boxes import PREDICT_NMS, Detections
from detkit.report import EndToEnd, ModelLatency, ReferenceTimes, Throughput
from detkit.runtime.graph_session import DeviceTimes, last_device_times
from detkit.runtime.session import RawOutputs, SessionOptions, SuppressedOutputs
from detkit.timing.measure import Clock, Timing, measure_chain, paired_ratio
from detkit.timing.statistics import latency_stats, mean_interval
from detkit.timing.throughput import ThroughputTiming


def measure_end_to_end(model: TimedModel, runs: int, clock: Clock) -> EndToEnd:
    """Times one batch after the other, from image files to detections."""
    copies: list[DeviceTimes | None] = []

    def engine(images: Any) -> RawOutputs | SuppressedOutputs:
        outputs = model.infer(images)
        copies.append(last_device_times(model.session))
        return outputs

    def suppress(outputs: RawOutputs | SuppressedOutputs) -> list[Detections]:
        return outputs.detections(PREDICT_NMS)

    stages: tuple[Callable[[Any], Any], ...] = (model.prepare, engine, suppress)
    rows = measure_chain(stages, runs, clock)
    preprocess, in_engine, nms = (median(column) for column in zip(*rows, strict=True))
    known = [times for times in copies[-runs:] if times is not None]
    upload = median(times.upload for times in known) if known else None
    download = median(times.download for times in known) if known else None
    total = latency_stats([[sum(row)] for row in rows])
    return EndToEnd(
        preprocess=preprocess,
        upload=upload,
        engine=in_engine - (upload or 0.0) - (download or 0.0),
        download=download,
        nms=nms,
        total=total.p50,
        total_p90=total.p90,
        total_p95=total.p95,
        total_p99=total.p99,
    )


def model_latency(
    model: TimedModel,
    session_options: SessionOptions,
    timing: Timing,
    first: Timing,
    chain: EndToEnd,
    energy_mj_per_image: float | None,
) -> ModelLatency:
    manifest, main_times = model.session.manifest, headline(timing)
    wall = latency_stats(timing.blocks_ms)
    has_device_times = bool(timing.device)
    throughput = _throughput(timing, model) if isinstance(timing, ThroughputTiming) else None
    return ModelLatency(
        file=str(model.path),
        sha256=sha256_of(model.path),
        bytes=size_of(model.path),
        runtime=model.session.engine,
        precision=manifest.precision,
        form=manifest.form,
        device=session_options.device,
        image_size=manifest.preprocess.size,
        batch=model.batch,
        threads=session_options.threads,
        clock="device" if has_device_times else "wall",
        latency_ms=latency_stats(main_times.blocks_ms) if has_device_times else wall,
        wall_ms=wall if has_device_times else None,
        upload_ms=_median_on_device(timing, "upload") if has_device_times else None,
        download_ms=_median_on_device(timing, "download") if has_device_times else None,
        end_to_end_ms=chain,
        images_per_s=throughput.images_per_s if throughput else model.batch / wall.p50 * 1e3,
        throughput=throughput,
        energy_mj_per_image=energy_mj_per_image,
        ratio_to_first=paired_ratio(main_times, headline(first)),
        block_spread=main_times.block_spread,
        block_ms=_rounded(main_times.block_ms),
        block_cpu_ms=_rounded(timing.block_cpu_ms),
        warmup_runs=timing.warmup.runs,
        samples_ms=_rounded(main_times.samples_ms),
    )


def headline(timing: Timing) -> Timing:
    """Gives the times of the device where the engine takes them, else the wall times."""
    if not timing.device:
        return timing
    blocks_ms = tuple(tuple(times.compute for times in block) for block in timing.device)
    return Timing(timing.warmup, blocks_ms)


def _median_on_device(timing: Timing, part: str) -> float:
    values: list[float] = [getattr(times, part) for block in timing.device for times in block]
    return median(values)


def _throughput(timing: ThroughputTiming, model: TimedModel) -> Throughput:
    """Averages the rates of all blocks, which lasted equally long each."""
    rates = [model.batch * 1e3 / ms for ms in timing.ms_per_batch]
    interval = mean_interval(rates)
    return Throughput(
        in_flight=len(model.sessions),
        images_per_s=sum(rates) / len(rates),
        images_per_s_low=interval.low,
        images_per_s_high=interval.high,
    )


def reference_times(name: str, timing: Timing) -> ReferenceTimes:
    medians = timing.block_medians_ms
    return ReferenceTimes(
        name=name,
        p50_ms=median(medians),
        block_ms=_rounded(timing.block_ms),
        block_cpu_ms=_rounded(timing.block_cpu_ms),
    )


def _rounded(values_ms: Sequence[float]) -> tuple[float, ...]:
    return tuple(round(value, 4) for value in values_ms)
