"""What a model's labels of images are like."""

from __future__ import annotations

from dataclasses import dataclass, field

from detkit.report.record import Report


@dataclass(frozen=True, kw_only=True)
class DoubtfulImage:
    """One image for a person to look at; the figures are those of `labelling.doubt`."""

    image: str  # below the folder
    doubt: float
    boxes: int
    near_misses: int
    conflicts: int


@dataclass(frozen=True, kw_only=True)
class LabelThresholds:
    """How detections became labels; `nms_iou` is None where the graph suppressed by itself."""

    least_scores: dict[str, float]  # of each class of the model that has a label
    renamed: dict[str, str]
    dropped_classes: tuple[str, ...]
    nms_iou: float | None
    max_boxes: int  # of an image
    human_classes: str  # complete or fill; empty without labels of people


@dataclass(frozen=True, kw_only=True)
class LabelCounts:
    """What was written: `boxes` are the model's, `human_boxes` those that were there before.

    `left_to_humans` counts boxes that were not written since people labelled their class
    completely, `matched_humans` those of objects that people drew already.
    """

    images: int
    images_per_split: dict[str, int]
    images_without_boxes: int
    images_linked: int  # the others are copies
    boxes: int
    boxes_per_class: dict[str, int]
    human_boxes: int
    human_boxes_per_class: dict[str, int]
    score_histogram: tuple[int, ...]  # of the model's boxes, in equal steps from 0 to 1
    left_to_humans: int
    matched_humans: int


@dataclass(frozen=True, kw_only=True)
class LabelReport(Report):
    """What `data label` made, or is making: then there are no counts, and it is not `finished`.

    `skipped` says of images that could not be read why.
    """

    kind: str = "label report"
    schema_version: int = 1
    folder: str
    model: str
    model_sha256: str
    licence: str  # of the model's weights; empty where it is not known
    runtime: str
    precision_mode: str
    class_names: tuple[str, ...]
    thresholds: LabelThresholds
    finished: bool = False
    counts: LabelCounts
    doubtful: tuple[DoubtfulImage, ...] = ()  # the most doubtful; all are in doubtful.csv
    sheets: tuple[str, ...] = ()  # below the folder
    duplicates: dict[str, str] = field(default_factory=dict)  # image left out -> the same image
    skipped: tuple[str, ...] = ()
    dropped_human_boxes: int = 0  # that cannot be used: see `data check`
