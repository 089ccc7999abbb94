"""The least score of each class to act on, taken from the figures of one validation."""

from __future__ import annotations

import math

from detkit.report import ClassScore, Figures

LEAST_BOXES = 10  # ground truths of a class below which its own best score is mostly chance
STEPS = 1000  # thresholds are multiples of 1/STEPS


def score_thresholds(figures: Figures) -> tuple[float, ...]:
    """The score, one a class, above which F1 was best; empty where nothing was found.

    A class with few boxes takes the score that was best for all classes together. Each is rounded
    down, so that the detection it comes from stays above it in every engine.
    """
    if figures.confidence is None:
        return ()
    together = figures.confidence
    return tuple(_below(_best(score) or together) for score in figures.per_class.values())


def _best(score: ClassScore) -> float | None:
    """A class' own best score; None where it has too few boxes, or nothing was found."""
    return score.confidence if score.boxes >= LEAST_BOXES else None


def _below(confidence: float) -> float:
    """The largest multiple of 1/STEPS below a score, 0 at least."""
    return max(math.ceil(confidence * STEPS) - 1, 0) / STEPS
