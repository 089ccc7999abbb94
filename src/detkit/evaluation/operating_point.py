"""Detections matched with ground truth at IoU 0.5, and the confidence where F1 is best.

The 12 COCO figures come from pycocotools or its twin (see `evaluate`); neither gives the precision
and recall of a confidence threshold, which is what somebody who deploys a model has to choose.

Legend: D detections, G ground truths, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from detkit.core.boxes import Detections, Indices
from detkit.data.coco.split_reader import ImageRecord

Floats = npt.NDArray[np.float64]

MATCH_IOU = 0.5
MAX_PER_CLASS = 100  # detections of an image and class that count, as in COCO


@dataclass(frozen=True, kw_only=True)
class OperatingPoint:
    """Precision, recall and F1 at a confidence; `precision` is None where nothing is detected."""

    precision: float | None
    recall: float | None
    f1: float | None
    confidence: float | None


NOT_MEASURED = OperatingPoint(precision=None, recall=None, f1=None, confidence=None)
NOTHING_FOUND = OperatingPoint(precision=None, recall=0.0, f1=0.0, confidence=None)


def best_f1(
    records: Sequence[ImageRecord], num_classes: int, detections: Sequence[Detections]
) -> tuple[OperatingPoint, list[OperatingPoint]]:
    """Finds the operating point of all classes together, and that of each class by itself.

    Detections are matched as COCO does at IoU 0.5: best score first, each ground truth once, those
    on a crowd left out. A threshold c keeps detections with score >= c; of several best ones the
    highest is taken. Each class has its own: the one of its highest F1. Together there is one
    threshold: that of the highest mean of the F1 of the classes that have ground truth; precision
    and recall there are micro averages (sums over all detections and all ground truths), and `f1`
    is their harmonic mean.
    """
    totals = boxes_per_class(records, num_classes)
    scores, classes, hits = _matched(records, detections)
    order = np.argsort(-scores, kind="stable")
    scores, classes, hits = scores[order], classes[order], hits[order]
    per_class, sum_f1_steps = [], np.zeros(len(scores))
    for k, total in enumerate(totals.tolist()):
        mine = classes == k
        f1 = _f1_curve(hits[mine], total)
        per_class.append(_operating_point(scores[mine], hits[mine], f1, total))
        sum_f1_steps[mine] = np.diff(f1, prepend=0) if total else 0
    sum_f1 = np.cumsum(sum_f1_steps).round(12)  # highest where the mean is; equal stays equal
    return _operating_point(scores, hits, sum_f1, int(totals.sum())), per_class


def _f1_curve(hits: npt.NDArray[np.bool_], total: int) -> Floats:
    """F1 of the first 1, 2, ... detections, best first: 2 TP / (detections + ground truths)."""
    f1: Floats = 2 * np.cumsum(hits) / (np.arange(1, len(hits) + 1) + total)
    return f1


def _operating_point(
    scores: npt.NDArray[np.float32], hits: npt.NDArray[np.bool_], curve: Floats, total: int
) -> OperatingPoint:
    """The point where `curve` is highest, of detections sorted best first."""
    if total == 0:
        return NOT_MEASURED
    if len(scores) == 0:
        return NOTHING_FOUND
    last_of_ties = np.append(scores[1:] != scores[:-1], True)
    at = int(np.where(last_of_ties, curve, -1).argmax())
    true_positives, kept = int(hits[: at + 1].sum()), at + 1
    return OperatingPoint(
        precision=true_positives / kept,
        recall=true_positives / total,
        f1=2 * true_positives / (kept + total),
        confidence=float(scores[at]),
    )


def _matched(
    records: Sequence[ImageRecord], detections: Sequence[Detections]
) -> tuple[npt.NDArray[np.float32], Indices, npt.NDArray[np.bool_]]:
    """Scores, classes and hits (D,) of all images, without those matched to a crowd."""
    scores = [np.empty(0, np.float32)]
    classes = [np.empty(0, np.int64)]
    hits = [np.empty(0, bool)]
    for record, found in zip(records, detections, strict=True):
        first = _first_of_class(found.classes)
        state = _match_image(record, found, first)
        counted = first & (state >= 0)
        scores.append(found.scores[counted])
        classes.append(found.classes[counted])
        hits.append(state[counted] > 0)
    return np.concatenate(scores), np.concatenate(classes), np.concatenate(hits)


def _first_of_class(classes: Indices) -> npt.NDArray[np.bool_]:
    """Whether each of (D,), best first, is among the first `MAX_PER_CLASS` of its class."""
    order = np.argsort(classes, kind="stable")
    ranked = classes[order]
    rank = np.empty(len(classes), np.int64)
    rank[order] = np.arange(len(classes)) - np.searchsorted(ranked, ranked, side="left")
    return rank < MAX_PER_CLASS


def _match_image(
    record: ImageRecord, found: Detections, first: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int8]:
    """Matches detections: (D,) 1 for a match to a ground truth, -1 to a crowd only, else 0."""
    state = np.zeros(len(found), np.int8)
    iou = _coco_iou(coco_boxes(found.boxes_xyxy), coco_boxes(record.boxes_xyxy), record.crowd)
    same_class = found.classes[:, None] == record.classes
    d, g = np.nonzero(same_class & (iou >= MATCH_IOU) & first[:, None])
    # as pycocotools: real ground truths before crowds, then the largest IoU, then the last one
    order = np.lexsort((-g, -iou[d, g], record.crowd[g], d))
    taken = record.crowd & False
    for i, j in zip(d[order].tolist(), g[order].tolist(), strict=True):
        if state[i] == 0 and record.crowd[j]:
            state[i] = -1
        elif state[i] == 0 and not taken[j]:
            state[i] = taken[j] = True
    return state


def _coco_iou(found_d4: Floats, truth_g4: Floats, crowd_g: npt.NDArray[np.bool_]) -> Floats:
    """IoU (D, G) of xywh boxes; for a crowd the union is the detection alone, as COCO has it."""
    ends_d2, ends_g2 = found_d4[:, :2] + found_d4[:, 2:], truth_g4[:, :2] + truth_g4[:, 2:]
    starts_d2, starts_g2 = found_d4[:, :2], truth_g4[:, :2]
    sides = np.minimum(ends_d2[:, None], ends_g2) - np.maximum(starts_d2[:, None], starts_g2)
    overlap: Floats = np.maximum(sides, 0).prod(axis=2)
    area_d, area_g = found_d4[:, 2:].prod(axis=1), truth_g4[:, 2:].prod(axis=1)
    union = np.where(crowd_g, area_d[:, None], area_d[:, None] + area_g - overlap)
    np.divide(overlap, union, out=overlap, where=union > 0)
    return overlap


def coco_boxes(boxes_xyxy: npt.NDArray[np.float32]) -> Floats:
    """Converts (N, 4) xyxy to xywh; float64 holds the difference of two float32 exactly."""
    corners = boxes_xyxy.astype(np.float64)
    xywh: Floats = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
    return xywh


def boxes_per_class(records: Sequence[ImageRecord], num_classes: int) -> Indices:
    """Counts the ground truths (K,) of each class, crowds left out."""
    counts = [np.bincount(r.classes[~r.crowd], minlength=num_classes) for r in records]
    totals: Indices = np.sum(counts, axis=0, dtype=np.int64)
    return totals
