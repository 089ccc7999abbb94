"""The advice in which precision, on which engine, to ship a checkpoint."""

from __future__ import annotations

from dataclasses import dataclass

from detkit.report.record import Report


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One variant of the checkpoint on one engine, measured beside all others.

    `drop` is in points of AP below the checkpoint in float, and `drop_noise` its standard error
    over the images, None where they are too few to tell. `ratio` is the median over blocks of its
    time over that of the fastest float variant, within `ratio_low` to `ratio_high` in nine cases of
    ten.
    """

    runtime: str
    precision: str
    ap: float
    drop: float
    drop_noise: float | None
    latency_ms: float
    ratio: float
    ratio_low: float
    ratio_high: float
    bytes: int
    rejected: str = ""  # why it is not to be shipped


@dataclass(frozen=True, kw_only=True)
class AdviceReport(Report):
    """The variant to ship: `chosen` is its index in `variants`, None if none meets the limits."""

    kind: str = "advice report"
    schema_version: int = 2
    checkpoint: str
    data: str
    split: str
    images: int
    max_drop: float
    max_ms: float | None
    variants: tuple[Variant, ...]
    chosen: int | None
    advice: str
    commands: tuple[str, ...]
    absent: dict[str, str]  # engine and precision -> why it was not measured
    threads: int
    valid: bool
    warnings: tuple[str, ...]
    fingerprint: dict[str, str]
