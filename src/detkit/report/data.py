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
class Suspicion:
    """What `count` of the `total` boxes or images of a split have in common, and few are meant to.

    It is told with its likely cause and what mends it; nothing is changed because of it.
    """

    split: str
    count: int
    total: int
    what: str  # that these boxes, images or classes are or do
    cause: str
    remedy: str

    @property
    def line(self) -> str:
        """All of it in one line."""
        told = f"{self.split}: {self.count} of {self.total} {self.what}: {self.cause}"
        return f"{told}; {self.remedy}" if self.remedy else told


@dataclass(frozen=True, kw_only=True)
class SplitReport:
    """Counts of one split: images and boxes used, and what happened to the rest.

    `images` + `dropped_images` is all that are listed, `boxes` + `dropped_boxes` all annotations;
    `fixed_boxes` are among `boxes`.
    """

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
class SourceCounts:
    """What a folder of another format holds beside the images of its splits."""

    images_in_no_split: int
    label_files: int
    label_files_left_out: int


@dataclass(frozen=True, kw_only=True)
class DataReport(Report):
    kind: str = "data report"
    schema_version: int = 2
    root: str
    layout: str
    class_names: tuple[str, ...]
    splits: tuple[SplitReport, ...]
    counts: dict[str, int]  # reason -> how many
    faults: tuple[Fault, ...]
    suspicions: tuple[Suspicion, ...] = ()
    source: SourceCounts | None = None  # of what was converted
    clean: bool
    digest: str
