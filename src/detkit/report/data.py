"""What is in a COCO folder, and what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass

from detkit.report.record import Report


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One thing wrong with a folder. `action` is kept, fixed, dropped or rejected."""

    file: str
    reason: str
    action: str
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class SplitReport:
    """Counts of one split: images + boxes used, and what happened to the rest."""

    split: str
    images: int
    images_without_boxes: int
    boxes: int
    crowd_boxes: int
    boxes_per_class: dict[str, int]
    dropped_images: int
    dropped_boxes: int
    fixed_boxes: int


@dataclass(frozen=True, kw_only=True)
class DataReport(Report):
    kind: str = "data report"
    schema_version: int = 1
    root: str
    layout: str
    class_names: tuple[str, ...]
    splits: tuple[SplitReport, ...]
    counts: dict[str, int]  # reason -> how many
    faults: tuple[Fault, ...]
    clean: bool
    digest: str
