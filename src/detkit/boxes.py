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


@dataclass(frozen=True, kw_only=True)
class NmsConfig:
    """Which raw predictions become detections. The defaults are YOLO-NAS' for evaluation."""

    score_threshold: float = 0.01
    iou_threshold: float = 0.7
    max_candidates: int = 1000  # before suppression
    max_detections: int = 300
    multi_label: bool = True  # every (anchor, class) pair, or only the best class of an anchor
    class_agnostic: bool = False


EVAL_NMS = NmsConfig()
PREDICT_NMS = NmsConfig(score_threshold=0.25, max_candidates=1024)


@dataclass(frozen=True)
class Detections:
    """One picture's detections, best first: boxes (N, 4) xyxy pixels, scores (N,), classes (N,)."""

    boxes_xyxy: Array
    scores: Array
    classes: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.scores)


def xywh_from_xyxy(boxes_xyxy: Array) -> Array:
    """(..., 4) corners -> left, top, width, height (the COCO json order)."""
    out: Array = boxes_xyxy.copy()
    out[..., 2:] -= out[..., :2]
    return out


def xyxy_from_xywh(boxes_xywh: Array) -> Array:
    """(..., 4) left, top, width, height -> corners."""
    out: Array = boxes_xywh.copy()
    out[..., 2:] += out[..., :2]
    return out


def clip_xyxy(boxes_xyxy: Array, height: int, width: int) -> Array:
    """Cut to the picture."""
    limits = np.array([width, height, width, height], np.float32)
    return np.clip(boxes_xyxy, np.float32(0), limits)


def area_xyxy(boxes_xyxy: Array) -> Array:
    """(..., 4) -> (...), 0 where the corners are inverted."""
    sides = np.maximum(boxes_xyxy[..., 2:] - boxes_xyxy[..., :2], 0)
    area: Array = sides[..., 0] * sides[..., 1]
    return area


def iou_matrix(a_n4: Array, b_m4: Array) -> Array:
    """Intersection over union of every pair: (N, 4) and (M, 4) xyxy -> (N, M), 0..1."""
    top_left = np.maximum(a_n4[:, None, :2], b_m4[None, :, :2])
    bottom_right = np.minimum(a_n4[:, None, 2:], b_m4[None, :, 2:])
    sides = np.maximum(bottom_right - top_left, 0)
    overlap = sides[..., 0] * sides[..., 1]
    union = area_xyxy(a_n4)[:, None] + area_xyxy(b_m4)[None, :] - overlap
    iou: Array = np.where(union > 0, overlap / np.maximum(union, 1e-12), 0).astype(np.float32)
    return iou


def nms(boxes_a4: Array, scores_ac: Array, config: NmsConfig = EVAL_NMS) -> Detections:
    """Threshold -> top candidates -> suppression -> at most `max_detections`, best first.

    Args:
        boxes_a4: (A, 4) xyxy pixels.
        scores_ac: (A, C), 0..1. Multi-label keeps scores strictly above the threshold,
            single-label those at or above it (as YOLO-NAS does).
    """
    anchors, classes, scores = _candidates(scores_ac, config)
    order = np.argsort(-scores, kind="stable")[: config.max_candidates]
    anchors, classes, scores = anchors[order], classes[order], scores[order]
    boxes = boxes_a4[anchors]
    keep = _suppress(boxes, classes, config)[: config.max_detections]
    return Detections(boxes[keep], scores[keep], classes[keep])


def _candidates(
    scores_ac: Array, config: NmsConfig
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], Array]:
    if config.multi_label:
        anchors, classes = np.nonzero(scores_ac > config.score_threshold)
        return anchors, classes, scores_ac[anchors, classes]
    classes = scores_ac.argmax(axis=1)
    best = scores_ac[np.arange(len(scores_ac)), classes]
    anchors = np.flatnonzero(best >= config.score_threshold)
    return anchors, classes[anchors], best[anchors]


def _suppress(
    boxes: Array, classes: npt.NDArray[np.int64], config: NmsConfig
) -> npt.NDArray[np.int64]:
    """Indices kept of candidates sorted best first: greedy, per class unless class-agnostic."""
    overlapping = iou_matrix(boxes, boxes) > config.iou_threshold
    if not config.class_agnostic:
        overlapping &= classes[:, None] == classes[None, :]
    alive = np.ones(len(boxes), bool)
    for i in range(len(boxes)):
        if alive[i]:
            alive[i + 1 :] &= ~overlapping[i, i + 1 :]
    return np.flatnonzero(alive)
