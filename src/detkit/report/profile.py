"""How long networks of a search space take on one machine, and what that predicts of the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from detkit.report.record import Report


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """The times of a few runs in a row; `wall_over_cpu` is 1 where only wall time is measured."""

    least_ms: float
    p50_ms: float
    iqr_ms: float
    wall_over_cpu: float


@dataclass(frozen=True, kw_only=True)
class ProfileSample:
    """One network; `latency_ms` is the least of its measurements so far."""

    arch: dict[str, Any]  # an ArchSpec as JSON
    digest: str
    macs: int
    measurements: tuple[Measurement, ...] = ()
    latency_ms: float = 0.0  # 0 before the first measurement


@dataclass(frozen=True, kw_only=True)
class LatencyFit:
    """A linear fit, latency_ms = sum of weights_ms * features; errors are of samples left out.

    `mape` is a share: 0.08 is 8 %.
    """

    features: tuple[str, ...]
    weights_ms: tuple[float, ...]
    penalty: float
    samples: int
    mape: float
    spearman: float


@dataclass(frozen=True, kw_only=True)
class HardwareProfile(Report):
    """What `detkit profile` measured on a device, for `detkit search --latency-profile`.

    `clock` is `cpu` (time of the one thread that computes) or `wall`. `fit` is None until every
    sample has been measured.
    """

    kind: str = "hardware profile"
    schema_version: int = 1
    unit: str = "ms"
    space: str
    space_digest: str
    num_classes: int
    image_size: str  # HEIGHTxWIDTH, or "searched"
    runtime: str
    runtime_version: str
    precision: str
    device: str
    threads: int
    batch: int
    clock: str
    power_mode: str
    seed: int
    measurements: int  # of every sample
    samples: tuple[ProfileSample, ...]
    reference: str  # the network measured beside every group of samples
    reference_ms: tuple[float, ...]
    fit: LatencyFit | None
    warnings: tuple[str, ...]
    fingerprint: dict[str, str]
