"""How long models take on this machine, in which state it was, and how that compares with before.

Schema 3. A `None` is what this machine or this engine cannot tell.
"""

from __future__ import annotations

from dataclasses import dataclass

from detkit.report.record import Report


@dataclass(frozen=True, kw_only=True)
class LatencyStats:
    """Statistics of `count` runs, in milliseconds.

    `p50_low` to `p50_high` is the 95 % interval of p50, from whole blocks drawn again and again:
    runs of one block are not independent. `mad` is the median distance from p50, `iqr` p75 - p25.
    """

    p50: float
    p50_low: float
    p50_high: float
    p90: float
    p95: float
    p99: float
    mean: float
    min: float
    mad: float
    iqr: float
    count: int


@dataclass(frozen=True, kw_only=True)
class EndToEnd:
    """Milliseconds a batch from image files to boxes: decode + letterbox, engine, NMS.

    Medians, but for the other percentiles of the total. Where the engine times itself, the copies
    to and from its device stand apart, and `engine` is the rest of its call; they are None else.
    """

    preprocess: float
    upload: float | None = None
    engine: float
    download: float | None = None
    nms: float
    total: float
    total_p90: float
    total_p95: float
    total_p99: float


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """Images done in a second with `in_flight` batches at a time, and its 95 % interval."""

    in_flight: int
    images_per_s: float
    images_per_s_low: float
    images_per_s_high: float


@dataclass(frozen=True, kw_only=True)
class ModelLatency:
    """One model; `latency_ms` is its engine alone, a batch.

    It is wall time, copies included, or, where `clock` is "device", the time of the computation by
    events on the device; `wall_ms` is then the wall time beside it. In the throughput scenario it
    is the time of a batch among the others in flight.
    """

    file: str
    sha256: str
    bytes: int
    runtime: str
    precision: str
    form: str
    device: str
    image_size: tuple[int, int]
    batch: int
    threads: int  # of one batch in flight
    clock: str = "wall"
    latency_ms: LatencyStats
    wall_ms: LatencyStats | None = None
    upload_ms: float | None = None
    download_ms: float | None = None
    end_to_end_ms: EndToEnd
    images_per_s: float
    throughput: Throughput | None = None  # of the throughput scenario
    energy_mj_per_image: float | None = None
    ratio_to_first: float  # median of the paired ratios, this model over the first one
    block_spread: float  # p90 minus p10 of the medians of the blocks, over their p50
    block_ms: tuple[float, ...] = ()  # lower quartile of each; throughput: time for a batch done
    block_cpu_ms: tuple[float, ...] = ()  # the same of the calling thread's CPU time
    warmup_runs: int
    samples_ms: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ReferenceTimes:
    """The fixed work timed in turns with the models: how fast the machine was in this run."""

    name: str
    p50_ms: float
    block_ms: tuple[float, ...]  # in the rounds of the models' blocks
    block_cpu_ms: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class MachineState:
    """What the machine said of itself at one moment.

    `cpu_mhz` is the clock of its fastest core; `throttles` counts slow-downs of cores, and of a
    Jetson's board, since boot; `gpu_limits` are the reasons why the GPU does not run faster.
    """

    load_average: float
    cpu_mhz: float | None = None
    temperatures_c: dict[str, float]
    throttles: int
    gpu_mhz: float | None = None
    gpu_limits: tuple[str, ...] = ()
    power_w: dict[str, float]  # by rail


@dataclass(frozen=True, kw_only=True)
class Change:
    """One model against the baseline: `change` is new / old - 1 of the time of a batch.

    `low` to `high` is its 95 % interval. `decided_by` says where it is from: "interleaved", the
    old file was timed again in turns with the new one; "reference", the times of the two runs over
    those of the reference work; "times", where there is none, the times as they are. Where other
    programs used too much of the CPU, "CPU time" says that wall time did not decide.
    """

    file: str
    baseline_file: str
    old_ms: float
    new_ms: float
    change: float
    low: float
    high: float
    verdict: str  # regression, slower, no change, faster; unknown
    decided_by: str
    why: str = ""  # it is unknown


@dataclass(frozen=True, kw_only=True)
class BaselineComparison:
    """Each model against a baseline; `reference_change` is that of the machine, new / old - 1."""

    file: str
    max_regress: float  # share, 0.05 for 5 %
    reference_change: float | None
    changes: tuple[Change, ...]


@dataclass(frozen=True, kw_only=True)
class BenchReport(Report):
    kind: str = "bench report"
    schema_version: int = 3
    scenario: str = "latency"
    models: tuple[ModelLatency, ...]
    reference: ReferenceTimes | None = None
    images: str  # the folder they came from, or that they were drawn
    states: tuple[MachineState, ...] = ()  # before, between the blocks, after
    fingerprint: dict[str, str]
    valid: bool
    warnings: tuple[str, ...]  # why it is not valid
    cpu_time_valid: bool = False  # CPU times can be trusted: nothing but other programs disturbed
    remedies: tuple[str, ...] = ()  # commands that would help, none of them run
    baseline: BaselineComparison | None = None
