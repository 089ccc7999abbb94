"""What INT8 costs in AP and gains in time and size."""

from __future__ import annotations

from dataclasses import dataclass

from detkit.report.record import Report


@dataclass(frozen=True, kw_only=True)
class EngineFigures:
    """One engine's INT8 graph beside its own float graph, timed in turns.

    `coverage` is the share of convolutions that ran in INT8; the predictors never do. `clock` is
    what the ratio is by: wall, cpu where other programs ran, or nothing where the machine was too
    busy to tell. Latencies are by wall time; None is not measured.
    """

    runtime: str
    ap_float: float
    ap_int8: float
    float_latency_ms: float | None
    latency_ms: float | None
    latency_ratio: float | None  # INT8 over float
    clock: str
    convolutions: int
    int8_convolutions: int
    coverage: float
    float_bytes: int
    bytes: int


@dataclass(frozen=True, kw_only=True)
class GroupSensitivity:
    """One group of convolutions. `noise_db` is its own rounding noise at the outputs, in decibels
    below the signal: the lower, the worse.

    The other two are None where they were not measured: the points of AP that come back when the
    group alone returns to float, and the milliseconds that costs.
    """

    group: str
    convolutions: int
    noise_db: float
    recovered: float | None = None
    cost_ms: float | None = None


@dataclass(frozen=True, kw_only=True)
class QuantPoint:
    """A choice of groups kept in float, with what was measured of it; `drop` is in points of AP."""

    float_groups: tuple[str, ...]
    ap: float
    drop: float
    latency_ms: float | None  # None where the machine was too busy to tell
    megabytes: float


@dataclass(frozen=True, kw_only=True)
class QuantReport(Report):
    """What INT8 cost. AP is 0..1 on `split`; `drop` is in points: 100 * (ap_float - ap_int8).

    `ap_int8` and `coverage` are those of the exported graph on the first of `engines`. A point that
    is picked later is not measured again: then `engines` is empty and `ap_fake_quant` None.
    """

    kind: str = "quantization report"
    schema_version: int = 1
    file: str
    parent: str
    method: str  # ptq or qat
    data: str
    split: str
    images: int
    target: str
    ap_float: float
    ap_fake_quant: float | None
    ap_int8: float
    drop: float
    coverage: float
    convolutions: int
    kept_float: tuple[str, ...]
    engines: tuple[EngineFigures, ...]
    size_ratio: float  # of the exported graphs
    weight_bits: int
    calibrator: str
    ranges_by_method: dict[str, int]
    calibration_images: int
    calibration_digest: str
    threads: int
    sensitivity: tuple[GroupSensitivity, ...] = ()
    pareto: tuple[QuantPoint, ...] = ()
    licence: str = ""  # of the weights, as in the manifest
    weights_source: str = ""
    picked: int = 0  # index in `pareto`
