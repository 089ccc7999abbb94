"""Detections matched with ground truth at IoU 0.5, and the confidence where F1 is best.

The 12 COCO figures come from pycocotools or its twin (see `evaluate`); neither gives the precision
and recall of a confidence threshold, which is what somebody who deploys a model has to choose.

Legend: D detections, G ground truths, P pairs of one and the other, K classes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from detkit.core.boxes import Detections, Indices
from detkit.data.coco.split_reader import ImageRecord

Floats = npt.NDArray[np.float64]

MATCH_IOU = 0.5
PAIRS_AT_ONCE = 1_000_000  # whose overlap is computed together
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
    found = AllBoxes.of_all([(d.boxes_xyxy, d.classes) for d in detections])
    truth = AllBoxes.of_all([(r.boxes_xyxy, r.classes) for r in records])
    scores = np.concatenate([np.empty(0, np.float32), *(d.scores for d in detections)])
    crowd = np.concatenate([np.empty(0, np.bool_), *(r.crowd for r in records)])
    first = _first_of_class(found)
    state = _match(found, truth, crowd, first)
    counted = first & (state >= 0)
    return scores[counted], found.classes[counted], state[counted] > 0


@dataclass(frozen=True)
class AllBoxes:
    """Boxes (N, 4) xywh of all images, with the image and the class of each."""

    xywh: Floats
    images: Indices
    classes: Indices

    @classmethod
    def of_all(cls, each: Sequence[tuple[npt.NDArray[np.float32], Indices]]) -> AllBoxes:
        """The boxes of image after image, in the order they are given."""
        classes = np.concatenate([np.empty(0, np.int64), *(classes for _, classes in each)])
        boxes = np.concatenate([np.empty((0, 4), np.float32), *(boxes for boxes, _ in each)])
        images = np.repeat(np.arange(len(each)), [len(classes) for _, classes in each])
        return cls(coco_boxes(boxes), images, classes)

    def groups(self, classes: int) -> Indices:
        """A number (N,) for the image and the class together; `classes` is more than any class."""
        return self.images * classes + self.classes


def _first_of_class(found: AllBoxes) -> npt.NDArray[np.bool_]:
    """Whether each of (D,), best first, is among the first `MAX_PER_CLASS` of image and class."""
    groups = found.groups(_more_than_any(found))
    order = np.argsort(groups, kind="stable")
    ranked = groups[order]
    rank = np.empty(len(groups), np.int64)
    rank[order] = np.arange(len(groups)) - np.searchsorted(ranked, ranked, side="left")
    return rank < MAX_PER_CLASS


def _match(
    found: AllBoxes,
    truth: AllBoxes,
    crowd_g: npt.NDArray[np.bool_],
    first_d: npt.NDArray[np.bool_],
) -> npt.NDArray[np.int8]:
    """Matches detections: (D,) 1 for a match to a ground truth, -1 to a crowd only, else 0."""
    d, g, iou = _near_pairs(found, truth, crowd_g, first_d)
    # as pycocotools: real ground truths before crowds, then the largest IoU, then the last one
    order = np.lexsort((-g, -iou, crowd_g[g], d))
    state, taken = [0] * len(found.images), [False] * len(truth.images)
    crowd = crowd_g.tolist()
    for i, j in zip(d[order].tolist(), g[order].tolist(), strict=True):
        if state[i] == 0 and crowd[j]:
            state[i] = -1
        elif state[i] == 0 and not taken[j]:
            state[i] = taken[j] = True
    return np.array(state, np.int8)


def _near_pairs(
    found: AllBoxes,
    truth: AllBoxes,
    crowd_g: npt.NDArray[np.bool_],
    first_d: npt.NDArray[np.bool_],
) -> tuple[Indices, Indices, Floats]:
    """The pairs (d, g) of one image and class whose IoU is `MATCH_IOU` at least, and that IoU."""
    classes = max(_more_than_any(found), _more_than_any(truth))
    first = np.flatnonzero(first_d)
    wanted, groups = found.groups(classes)[first], truth.groups(classes)
    order = np.argsort(groups, kind="stable")
    ranked = groups[order]
    starts = np.searchsorted(ranked, wanted, side="left")
    counts = np.searchsorted(ranked, wanted, side="right") - starts
    pairs = [(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))]
    for part in _parts_of(counts, PAIRS_AT_ONCE):
        many = counts[part]
        d = first[part].repeat(many)
        within = np.arange(many.sum()) - (np.cumsum(many) - many).repeat(many)
        g = order[starts[part].repeat(many) + within]
        iou = _coco_iou(found.xywh[d], truth.xywh[g], crowd_g[g])
        near = iou >= MATCH_IOU
        pairs.append((d[near], g[near], iou[near]))
    d, g, iou = (np.concatenate(columns) for columns in zip(*pairs, strict=True))
    return d, g, iou


def _parts_of(counts: Indices, most: int) -> Iterator[slice]:
    """Slices of `counts` whose sums are about `most`."""
    parts = np.cumsum(counts) // most
    bounds = [*np.flatnonzero(np.diff(parts, prepend=0)).tolist(), len(counts)]
    for start, stop in itertools.pairwise([0, *bounds]):
        yield slice(start, stop)


def _more_than_any(boxes: AllBoxes) -> int:
    return int(boxes.classes.max(initial=0)) + 1


def _coco_iou(found_p4: Floats, truth_p4: Floats, crowd_p: npt.NDArray[np.bool_]) -> Floats:
    """IoU (P,) of pairs of xywh boxes; for a crowd the union is the detection alone, as in COCO."""
    ends = np.minimum(found_p4[:, :2] + found_p4[:, 2:], truth_p4[:, :2] + truth_p4[:, 2:])
    sides = ends - np.maximum(found_p4[:, :2], truth_p4[:, :2])
    overlap: Floats = np.maximum(sides, 0).prod(axis=1)
    area_found, area_truth = found_p4[:, 2:].prod(axis=1), truth_p4[:, 2:].prod(axis=1)
    union = np.where(crowd_p, area_found, area_found + area_truth - overlap)
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
