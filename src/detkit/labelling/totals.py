"""What labelling counts: images by split, boxes by class and score, and what was left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from detkit.labelling.image_labels import ImageLabels
from detkit.labelling.images import LabelItem
from detkit.report import LabelCounts

SCORE_STEPS = 20  # bars of the histogram of scores, equally wide from 0 to 1


def _no_scores() -> npt.NDArray[np.int64]:
    return np.zeros(SCORE_STEPS, np.int64)


@dataclass
class Totals:
    """Counts of all images so far; boxes by the index of their class."""

    images_per_split: Counter[str] = field(default_factory=Counter)
    images_without_boxes: int = 0
    images_linked: int = 0
    boxes: Counter[int] = field(default_factory=Counter)
    human_boxes: Counter[int] = field(default_factory=Counter)
    scores: npt.NDArray[np.int64] = field(default_factory=_no_scores)
    left_to_humans: int = 0
    matched_humans: int = 0

    def add(self, item: LabelItem, labels: ImageLabels, *, linked: bool) -> int:
        """Counts an image; returns how many boxes it has."""
        human = [] if item.human is None else item.human.classes.tolist()
        found = labels.labels
        self.images_per_split[item.split] += 1
        self.images_without_boxes += not (human or len(found))
        self.images_linked += linked
        self.boxes.update(found.classes.tolist())
        self.human_boxes.update(human)
        self.scores += np.histogram(found.scores, SCORE_STEPS, (0, 1))[0]
        self.left_to_humans += labels.left_to_humans
        self.matched_humans += labels.matched_humans
        return len(human) + len(found)

    @property
    def images(self) -> int:
        return self.images_per_split.total()

    def counts(self, names: Sequence[str]) -> LabelCounts:
        """Gives the counts as they are reported, boxes by the names of the classes."""
        return LabelCounts(
            images=self.images,
            images_per_split=dict(self.images_per_split),
            images_without_boxes=self.images_without_boxes,
            images_linked=self.images_linked,
            boxes=self.boxes.total(),
            boxes_per_class={name: self.boxes[k] for k, name in enumerate(names)},
            human_boxes=self.human_boxes.total(),
            human_boxes_per_class={name: self.human_boxes[k] for k, name in enumerate(names)},
            score_histogram=tuple(self.scores.tolist()),
            left_to_humans=self.left_to_humans,
            matched_humans=self.matched_humans,
        )
