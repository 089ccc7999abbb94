"""How architectures compare on this machine, before anything is trained."""

from __future__ import annotations

from dataclasses import dataclass

from detkit.report.record import Report
from detkit.report.speed import ModelLatency


@dataclass(frozen=True, kw_only=True)
class ComparedFile:
    """One precision of a network, timed in turns with all others."""

    measured: ModelLatency
    ratio_to_first: float  # over the first network in the same precision
    ratio_to_fp32: float | None = None  # over the same network; None where that was not timed


@dataclass(frozen=True, kw_only=True)
class ComparedModel:
    """One network with untrained weights.

    Parameters and multiply-adds are those deployed. `ap_published` (0..1) is its authors' figure
    for weights of their own on COCO, and None where there is none: nothing here measures AP.
    """

    name: str
    digest: str
    family: str
    parameters: int
    macs: int
    flops: int
    ap_published: float | None = None
    files: tuple[ComparedFile, ...]


@dataclass(frozen=True, kw_only=True)
class CompareReport(Report):
    kind: str = "comparison report"
    schema_version: int = 2
    weights: str = "untrained"
    image_size: tuple[int, int]
    models: tuple[ComparedModel, ...]
    images: str  # where those the networks were timed on came from
    fingerprint: dict[str, str]
    valid: bool
    warnings: tuple[str, ...]  # why it is not valid
    remedies: tuple[str, ...] = ()  # commands that would help, none of them run
