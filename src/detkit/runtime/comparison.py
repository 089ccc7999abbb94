"""How far the outputs of two models of one network differ on the same images."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from detkit.core.boxes import Array, Detections, NmsConfig
from detkit.core.errors import ArtifactError
from detkit.report import Difference
from detkit.runtime.session import Session, infer

VANISHED_PX = 1.0  # no box of the class so near: the detection is not there


def compare_raw(
    reference: Session,
    other: Session,
    images_bchw: Array,
    *,
    source: str,
    least_score: float = 0.0,
    batch_size: int = 4,
) -> Difference:
    """Measures the largest absolute differences of raw scores and boxes (input pixels).

    Args:
        images_bchw: (N, 3, H, W) float32 RGB 0..1, run in batches.
        source: what the images are, for the report.
        least_score: boxes whose best score in `reference` is lower are not compared: where nothing
            is seen, a box is the mean of a flat distribution, which moves at a touch.

    Raises:
        ArtifactError: outputs of other shapes, or not finite; no images.
    """
    if len(images_bchw) == 0:
        raise ArtifactError("nothing to compare on: there are no images")
    score = box_px = 0.0
    for start in range(0, len(images_bchw), batch_size):
        batch = images_bchw[start : start + batch_size]
        boxes, scores = reference.run(batch)
        other_boxes, other_scores = other.run(batch)
        score = max(score, _differences(scores, other_scores, "scores").max())
        seen = scores.max(axis=2) >= least_score
        off_px = _differences(boxes, other_boxes, "boxes")
        box_px = max(box_px, off_px[seen].max(initial=0.0))
    return Difference(
        score=float(score), box_px=float(box_px), images=len(images_bchw), source=source
    )


def _differences(a: Array, b: Array, what: str) -> npt.NDArray[np.float64]:
    """Absolute differences, all of them finite.

    Raises:
        ArtifactError: other shapes, or NaN or Inf.
    """
    if a.shape != b.shape:
        raise ArtifactError(f"the two models cannot be compared: {what} {a.shape} and {b.shape}")
    differences: npt.NDArray[np.float64] = np.abs(a.astype(np.float64) - b)
    if not np.isfinite(differences.max()):
        raise ArtifactError(f"the two models cannot be compared: {what} hold NaN or Inf")
    return differences


def compare_suppressed(
    reference: Session,
    other: Session,
    images_bchw: Array,
    config: NmsConfig,
    *,
    source: str,
    batch_size: int = 4,
) -> Difference:
    """Measures the largest differences of detections after NMS, which `other` has in its graph.

    Each detection is held against the nearest of its class on the other side. One that has no
    counterpart counts with the score it must have lost to vanish.
    """
    score = box_px = 0.0
    for start in range(0, len(images_bchw), batch_size):
        batch = images_bchw[start : start + batch_size]
        pairs = zip(
            infer(reference, batch).detections(config),
            infer(other, batch).detections(config),
            strict=True,
        )
        for a, b in pairs:
            for one, another in ((a, b), (b, a)):
                found_score, found_px = _strayed(one, another, _floor(another, config))
                score, box_px = max(score, found_score), max(box_px, found_px)
    return Difference(score=score, box_px=box_px, images=len(images_bchw), source=source)


def _floor(found: Detections, config: NmsConfig) -> float:
    """The least score that a detection needed to be among `found`."""
    is_full = len(found) == config.max_detections
    return float(found.scores.min()) if is_full else config.score_threshold


def _strayed(one: Detections, another: Detections, floor: float) -> tuple[float, float]:
    """Largest difference of score and box over the detections of `one`."""
    score = box_px = 0.0
    for box, own, label in zip(one.boxes_xyxy, one.scores, one.classes, strict=True):
        same = another.classes == label
        distances = np.abs(another.boxes_xyxy[same] - box).max(axis=1)
        if len(distances) and distances.min() < VANISHED_PX:
            nearest = int(distances.argmin())
            box_px = max(box_px, float(distances[nearest]))
            score = max(score, abs(float(another.scores[same][nearest]) - float(own)))
        else:
            score = max(score, float(own) - floor)
    return score, box_px
