"""The least score of each class to act on, taken from the figures of one validation.

The score of a class' best F1 in one half of the images is far off in the other half where it has
few boxes: on 538 images of 80 classes (COCO scenes, YOLOX-nano, 10 random halves) the mean F1 in
the other half was 0.379 by each class' own score and 0.415 by the one that all classes share. On 87
images of 3 common classes (BCCD, yolo-nas-n) own scores were no worse. Drawn towards the shared one
as by `PRIOR_BOXES`, they gave 0.415 there, and on BCCD's test split 0.788 where 0.25 gives 0.689.
"""

from __future__ import annotations

import math

from detkit.report import ClassScore, Figures

PRIOR_BOXES = 100  # boxes of a class from which on its own score counts more than the shared one
STEPS = 1000  # thresholds are multiples of 1/STEPS


def score_thresholds(figures: Figures) -> tuple[float, ...]:
    """The score of each class above which F1 was best, drawn towards that of all classes together.

    Empty where nothing was found. Each is rounded down, so that the detection which it comes from
    stays above it in every engine.
    """
    if figures.confidence is None:
        return ()
    shared = figures.confidence
    return tuple(_below(_drawn(score, shared)) for score in figures.per_class.values())


def _drawn(score: ClassScore, shared: float) -> float:
    """The mean of a class' own best score and the shared one, weighted by its boxes."""
    own = shared if score.confidence is None else score.confidence
    return (score.boxes * own + PRIOR_BOXES * shared) / (score.boxes + PRIOR_BOXES)


def _below(confidence: float) -> float:
    """The largest multiple of 1/STEPS below a score, 0 at least."""
    return max(math.ceil(confidence * STEPS) - 1, 0) / STEPS
