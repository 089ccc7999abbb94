"""How far two lists of detections of the same images are apart.

Legend: N detections of an image on one side, M on the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from detkit.core.boxes import Detections

PAIR_PX, PAIR_SCORE = 1.0, 0.01  # what a pair may differ by; further apart are two detections
EQUAL_PX, EQUAL_SCORE = 0.01, 1e-4  # and what still counts as the same


@dataclass(frozen=True)
class Agreement:
    """What the comparison of all images gave.

    Attributes:
        detections: of the side that is right, those left out that have no area in the image.
        unpaired: detections of either side that the other does not have; those whose score is
            within `EQUAL_SCORE` of the threshold are not counted.
        box_px, score: the largest difference of a corner and of a score among the pairs.
    """

    detections: int
    unpaired: int
    box_px: float
    score: float

    @property
    def is_equal(self) -> bool:
        """Whether both sides found the same, and something."""
        close = self.box_px <= EQUAL_PX and self.score <= EQUAL_SCORE
        return self.detections > 0 and self.is_same and close

    @property
    def is_same(self) -> bool:
        """Whether every detection has its pair, be there any or not."""
        return not self.unpaired


def agreement(right: Sequence[Detections], found: Sequence[Detections], conf: float) -> Agreement:
    """Compares images one by one; `conf` is the least score that both sides were given.

    Some packages drop boxes that have no area when they are cut to the image, others keep them:
    they are compared with nothing.
    """
    right, found = list(map(_with_area, right)), list(map(_with_area, found))
    pairs = [_pairs(a, b) for a, b in zip(right, found, strict=True)]
    unpaired, box_px, score = 0, 0.0, 0.0
    for one, other, rows in zip(right, found, pairs, strict=True):
        mine, theirs = [a for a, _ in rows], [b for _, b in rows]
        for side, taken in ((one, mine), (other, theirs)):
            left = np.delete(side.scores, taken)
            unpaired += int((left > conf + EQUAL_SCORE).sum())
        if rows:
            corners = one.boxes_xyxy[mine] - other.boxes_xyxy[theirs]
            box_px = max(box_px, float(np.abs(corners).max()))
            score = max(score, float(np.abs(one.scores[mine] - other.scores[theirs]).max()))
    return Agreement(sum(map(len, right)), unpaired, box_px, score)


def _with_area(found: Detections) -> Detections:
    sides = found.boxes_xyxy[:, 2:] - found.boxes_xyxy[:, :2]
    return found.at(np.flatnonzero((sides > EQUAL_PX).all(axis=1)))


def _pairs(one: Detections, other: Detections) -> list[tuple[int, int]]:
    """Rows of the two sides that are of one class and near each other, the nearest first."""
    corners_nm = np.abs(one.boxes_xyxy[:, None] - other.boxes_xyxy).max(axis=-1, initial=0)
    scores_nm = np.abs(one.scores[:, None] - other.scores)
    near_nm = (corners_nm <= PAIR_PX) & (scores_nm <= PAIR_SCORE)
    near_nm &= one.classes[:, None] == other.classes
    distance_nm = corners_nm / PAIR_PX + scores_nm / PAIR_SCORE
    rows, columns = np.nonzero(near_nm)
    order = np.argsort(distance_nm[rows, columns], kind="stable")
    return _each_once(zip(rows[order].tolist(), columns[order].tolist(), strict=True))


def _each_once(pairs: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The first pairs in which neither side was taken before."""
    rows: set[int] = set()
    columns: set[int] = set()
    kept = []
    for row, column in pairs:
        if row not in rows and column not in columns:
            rows.add(row)
            columns.add(column)
            kept.append((row, column))
    return kept
