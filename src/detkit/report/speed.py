"""How long models take on this machine."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class LatencyStats:
    """Milliseconds over `count` runs; `spread` is the interquartile range over the median."""

    p50: float
    p90: float
    p99: float
    mean: float
    min: float
    spread: float
    count: int


@dataclass(frozen=True, kw_only=True)
class EndToEnd:
    """Milliseconds a batch from picture files to boxes: decode + letterbox, engine, NMS.

    Medians, but for the other percentiles of the total.
    """

    preprocess: float
    engine: float
    nms: float
    total: float
    total_p90: float
    total_p99: float


@dataclass(frozen=True, kw_only=True)
class ModelLatency:
    """One model; `latency_ms` is its engine alone, a batch."""

    file: str
    sha256: str
    bytes: int
    runtime: str
    precision: str
    form: str
    device: str
    image_size: tuple[int, int]
    batch: int
    threads: int
    latency_ms: LatencyStats
    end_to_end_ms: EndToEnd
    images_per_s: float
    ratio_to_first: float  # median of the paired ratios, this model over the first one
    block_spread: float  # largest minus smallest block median, over the median
    warmup_runs: int
    samples_ms: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class BenchReport:
    schema_version: int = 1
    models: tuple[ModelLatency, ...]
    pictures: str  # the folder they came from, or that they were drawn
    fingerprint: dict[str, str]
    valid: bool
    reasons: tuple[str, ...]  # why it is not valid
