"""Box geometry and non-maximum suppression in numpy; boxes are xyxy unless a name says otherwise.

No torch and no torchvision, so that evaluating an exported model needs neither. The differentiable
box maths of the loss lives in `train.loss`.

Legend: B batch, A anchor points, C classes, N detections.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]
TILE = 64  # rows of the IoU matrix at a time: small enough for the second-level cache


@dataclass(frozen=True, kw_only=True)
class NmsConfig:
    """Which raw predictions become detections. The defaults are YOLO-NAS' for evaluation.

    `class_thresholds` holds one score a class in the place of `score_threshold`, where there are
    any.
    """

    score_threshold: float = 0.01
    class_thresholds: tuple[float, ...] = ()
    iou_threshold: float = 0.7
    max_candidates: int = 1000  # before suppression
    max_detections: int = 300
    multi_label: bool = True  # every (anchor, class) pair, or only the best class of an anchor
    class_agnostic: bool = False

    @property
    def thresholds(self) -> Array:
        """What scores (..., C) are held against: a scalar (), or one score a class (C,)."""
        return np.array(self.class_thresholds or self.score_threshold, np.float32)

    def thresholds_of(self, classes: Indices) -> Array:
        """The threshold of each of these classes (N,)."""
        each = self.thresholds
        return each[classes] if each.ndim else np.broadcast_to(each, classes.shape)


EVAL_NMS = NmsConfig()
PREDICT_NMS = NmsConfig(score_threshold=0.25, max_candidates=1024)


@dataclass(frozen=True)
class Detections:
    """One image's detections, best first: boxes (N, 4) xyxy pixels, scores (N,), classes (N,)."""

    boxes_xyxy: Array
    scores: Array
    classes: Indices

    def __len__(self) -> int:
        return len(self.scores)

    def at(self, chosen: Indices | npt.NDArray[np.bool_]) -> Detections:
        """Picks detections by indices, in their order, or by a mask (N,)."""
        return Detections(self.boxes_xyxy[chosen], self.scores[chosen], self.classes[chosen])


def xywh_from_xyxy(boxes_xyxy: Array) -> Array:
    """Turns corners (..., 4) into left, top, width, height (the order of COCO json).

    >>> xywh_from_xyxy(np.array([10, 20, 40, 60], np.float32)).tolist()
    [10.0, 20.0, 30.0, 40.0]
    """
    out: Array = boxes_xyxy.copy()
    out[..., 2:] -= out[..., :2]
    return out


def xyxy_from_xywh(boxes_xywh: Array) -> Array:
    """Turns left, top, width, height (..., 4) into corners.

    >>> xyxy_from_xywh(np.array([10, 20, 30, 40], np.float32)).tolist()
    [10.0, 20.0, 40.0, 60.0]
    """
    out: Array = boxes_xywh.copy()
    out[..., 2:] += out[..., :2]
    return out


def clip_xyxy(boxes_xyxy: Array, height: int, width: int) -> Array:
    """Cuts boxes to an image of this height and width.

    >>> clip_xyxy(np.array([-5, 2, 90, 50], np.float32), height=40, width=80).tolist()
    [0.0, 2.0, 80.0, 40.0]
    """
    limits = np.array([width, height, width, height], np.float32)
    return np.clip(boxes_xyxy, np.float32(0), limits)


def area_xyxy(boxes_xyxy: Array) -> Array:
    """Areas (...) of boxes (..., 4), 0 where the corners are inverted."""
    sides = np.maximum(boxes_xyxy[..., 2:] - boxes_xyxy[..., :2], 0)
    area: Array = sides[..., 0] * sides[..., 1]
    return area


def iou_matrix(a_n4: Array, b_m4: Array) -> Array:
    """Intersection over union of every pair: (N, 4) and (M, 4) xyxy -> (N, M), 0..1.

    >>> boxes = np.array([[0, 0, 2, 2], [1, 0, 3, 2]], np.float32)
    >>> print(iou_matrix(boxes, boxes).round(3))
    [[1.    0.333]
     [0.333 1.   ]]
    """
    return _iou_columns(np.ascontiguousarray(a_n4.T), np.ascontiguousarray(b_m4.T))


def _iou_columns(a_4n: Array, b_4m: Array) -> Array:
    """Computes `iou_matrix` of boxes in contiguous columns, in place: 3x the speed."""
    overlap: Array = np.minimum(a_4n[2][:, None], b_4m[2])
    overlap -= np.maximum(a_4n[0][:, None], b_4m[0])
    np.maximum(overlap, 0, out=overlap)
    heights = np.minimum(a_4n[3][:, None], b_4m[3])
    heights -= np.maximum(a_4n[1][:, None], b_4m[1])
    np.maximum(heights, 0, out=heights)
    overlap *= heights
    union = np.add(area_xyxy(a_4n.T)[:, None], area_xyxy(b_4m.T), out=heights)
    union -= overlap
    np.maximum(union, np.float32(1e-12), out=union)  # two empty boxes: 0, not 0 / 0
    overlap /= union
    return overlap


def nms(boxes_a4: Array, scores_ac: Array, config: NmsConfig = EVAL_NMS) -> Detections:
    """Suppresses one image's raw predictions: at most `max_detections` are left, best first.

    Equal scores keep the order of (anchor, class), so the result is deterministic.

    Args:
        boxes_a4: (A, 4) xyxy pixels.
        scores_ac: (A, C), 0..1. Multi-label keeps scores strictly above the threshold,
            single-label those at or above it (as YOLO-NAS does).

    >>> boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30]], np.float32)
    >>> scores = np.array([[0.9], [0.8], [0.7]], np.float32)
    >>> print(nms(boxes, scores).scores)
    [0.9 0.7]
    """
    anchors, classes, scores = _candidates(scores_ac, config)
    boxes = boxes_a4[anchors]
    groups = np.zeros_like(classes) if config.class_agnostic else classes
    keep = _suppress(boxes, groups, config.iou_threshold)[: config.max_detections]
    return Detections(boxes[keep], scores[keep], classes[keep])


def suppress(found: Detections, iou_threshold: float) -> Indices:
    """Chooses, ascending, the detections that no earlier one of their class overlaps by more.

    The order decides, not the score: what stands first wins.

    >>> boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 9]], np.float32)
    >>> found = Detections(boxes, np.array([0.9, 0.8, 0.7], np.float32), np.array([1, 1, 2]))
    >>> suppress(found, 0.7).tolist()
    [0, 2]
    """
    return _suppress(found.boxes_xyxy, found.classes, iou_threshold)


def _candidates(scores_ac: Array, config: NmsConfig) -> tuple[Indices, Indices, Array]:
    """Anchor, class and score of the best `max_candidates` above the threshold, best first."""
    if config.multi_label:
        scores = scores_ac.reshape(-1)
        pairs = np.flatnonzero(scores_ac > config.thresholds)
        pairs = pairs[_best_first(scores[pairs], config.max_candidates)]
        anchors, classes = np.divmod(pairs, scores_ac.shape[1])
        return anchors, classes, scores[pairs]
    classes = scores_ac.argmax(axis=1)
    scores = scores_ac[np.arange(len(scores_ac)), classes]
    anchors = np.flatnonzero(scores >= config.thresholds_of(classes))
    anchors = anchors[_best_first(scores[anchors], config.max_candidates)]
    return anchors, classes[anchors], scores[anchors]


def _best_first(scores: Array, count: int) -> Indices:
    """Indices of the `count` highest, as a stable sort of all would give them, without sorting all.

    An untrained model puts half a million pairs above the threshold.
    """
    contenders = np.arange(len(scores))
    if len(scores) > count:
        lowest = np.partition(scores, len(scores) - count)[len(scores) - count]
        contenders = np.flatnonzero(scores >= lowest)
    return contenders[np.argsort(-scores[contenders], kind="stable")[:count]]


def _suppress(boxes: Array, groups: Indices, iou_threshold: float) -> Indices:
    """Indices kept, ascending, of candidates sorted best first: greedy, within each group.

    Sorted by group, only a band about the diagonal of the IoU matrix can be above the threshold; it
    is computed in tiles of `TILE` rows. The candidates a row rules out are the bits of one integer.
    """
    order = np.argsort(groups, kind="stable")
    boxes_4n, groups = np.ascontiguousarray(boxes[order].T), groups[order]
    group_ends = np.searchsorted(groups, groups, side="right")
    ruled_out, kept = 0, []
    for start in range(0, len(boxes), TILE):
        rows = slice(start, start + TILE)
        columns = slice(start, int(group_ends[rows][-1]))
        overlapping = _iou_columns(boxes_4n[:, rows], boxes_4n[:, columns]) > iou_threshold
        overlapping &= groups[rows, None] == groups[columns]
        bits = np.packbits(overlapping, axis=1, bitorder="little")
        for index, row in enumerate(bits, start):
            if not ruled_out >> index & 1:
                kept.append(index)
                ruled_out |= int.from_bytes(row.tobytes(), "little") << start
    return np.sort(order[kept])
