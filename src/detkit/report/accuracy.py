"""The COCO figures of a model on a split."""

from __future__ import annotations

from dataclasses import dataclass

from detkit.report.record import Report


@dataclass(frozen=True, kw_only=True)
class ClassScore:
    """One class; precision, recall and F1 at its own best confidence, see `best_f1`."""

    ap: float | None
    ap50: float | None
    precision: float | None
    recall: float | None
    f1: float | None
    confidence: float | None
    boxes: int


@dataclass(frozen=True, kw_only=True)
class Figures:
    """The 12 COCO figures, 0..1, then those at the confidence of the best mean F1, IoU 0.5."""

    ap: float | None
    ap50: float | None
    ap75: float | None
    ap_small: float | None
    ap_medium: float | None
    ap_large: float | None
    ar1: float | None
    ar10: float | None
    ar100: float | None
    ar_small: float | None
    ar_medium: float | None
    ar_large: float | None
    precision: float | None
    recall: float | None
    f1: float | None
    confidence: float | None
    per_class: dict[str, ClassScore]
    images: int
    boxes: int
    detections: int
    engine: str  # the scorer, under the key that scripts rely on
    engine_version: str


@dataclass(frozen=True, kw_only=True)
class EvalReport(Figures, Report):
    """The figures and what they were measured on; the same model and data give the same report.

    The three limits of the suppression are None where the model's own graph holds it.
    """

    kind: str = "eval report"
    schema_version: int = 1
    model: str
    model_sha256: str
    runtime: str
    precision_mode: str
    data: str
    split: str
    score_threshold: float | None
    nms_iou: float | None
    max_detections: int | None
