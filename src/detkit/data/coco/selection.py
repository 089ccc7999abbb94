"""The part of a folder that a run is about: some of its classes, all as one, some of the images.

The user's folder stays as it is; what is left out here is counted and told.
"""

from __future__ import annotations

import csv
import dataclasses
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from detkit.artifact.artifact import Signature
from detkit.core.errors import DataError, UsageError, did_you_mean
from detkit.data.coco.classes import of_classes
from detkit.data.coco.folder import CocoFolder, CocoSplit
from detkit.data.coco.split_reader import ImageRecord
from detkit.report import SplitReport
from detkit.spec.class_scope import ClassScope

ONE_CLASS = "object"  # what a single class is called
DRAW_KEY = 0x66726163  # sets the draw of images apart from all else that a seed decides
KEPT, DROPPED = "keep", "drop"


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What is taken of a folder; everything, as it stands.

    Attributes:
        classes: the names of those that are kept; all where there are none.
        other_images: whether images are kept whose boxes are all of other classes.
        single_class: whether all boxes are of the one class `ONE_CLASS`.
        fraction: the share of the training images, the first ones of an order drawn by `seed`.
    """

    classes: tuple[str, ...] = ()
    other_images: str = KEPT
    single_class: bool = False
    fraction: float = 1.0
    seed: int = 0

    @property
    def class_scope(self) -> ClassScope:
        """How the classes of a model stand to those of the folder, as its manifest says it."""
        if self.single_class:
            return ClassScope(kind="one", names=self.classes)
        return ClassScope(kind="some" if self.classes else "all")


def parse_class_names(text: str) -> tuple[str, ...]:
    """Names that are separated by commas; one that holds a comma stands in quotes.

    >>> parse_class_names('car, "sign, stop"')
    ('car', 'sign, stop')
    """
    (row,) = csv.reader([text], skipinitialspace=True) if text.strip() else ([],)
    return tuple(dict.fromkeys(name.strip() for name in row if name.strip()))


def select(folder: CocoFolder, selection: Selection) -> tuple[CocoFolder, tuple[str, ...]]:
    """The selected part of a folder, its report counted anew, and lines that say what was left out.

    Raises:
        UsageError: a class that the folder does not have.
        DataError: no image is left in a split.
    """
    splits, notes = dict(folder.splits), []
    for name, split in splits.items():
        part = _of_chosen(split, selection) if selection.classes else split
        part = as_one_class(part) if selection.single_class else part
        if name == "train" and selection.fraction < 1:
            part = _first_drawn(part, selection)
        if part is not split:
            notes.append(_note(split, part))
        if not part.records:
            raise DataError(f"{folder.root}: the chosen classes leave no image in '{name}'")
        splits[name] = part
    if not notes:
        return folder, ()
    report = dataclasses.replace(
        folder.report,
        class_names=next(iter(splits.values())).class_names,
        splits=tuple(
            _counted(one, splits[one.split]) for one in folder.report.splits if one.split in splits
        ),
    )
    return dataclasses.replace(folder, splits=splits, report=report), tuple(notes)


def as_trained(split: CocoSplit, facts: Signature) -> CocoSplit:
    """The split with the classes that a model was trained on: some of the data's, or as one.

    Raises:
        DataError: it has none of the model's classes.
    """
    scope = facts.class_scope
    if scope.kind == "one":
        part = of_classes(split, scope.names) if scope.names else split
        return as_one_class(part, facts.class_names[0])
    return of_classes(split, facts.class_names) if scope.kind == "some" else split


def as_one_class(split: CocoSplit, name: str = ONE_CLASS) -> CocoSplit:
    """The split with all its boxes of one class.

    An image whose labels do not speak of every class says nothing of what it does not label.
    """
    records = tuple(
        dataclasses.replace(
            record,
            classes=np.zeros_like(record.classes),
            known=None if record.known is None else np.array([record.known.all()]),
        )
        for record in split.records
    )
    ids = split.category_ids[:1] or (1,)
    return dataclasses.replace(split, records=records, class_names=(name,), category_ids=ids)


def _of_chosen(split: CocoSplit, selection: Selection) -> CocoSplit:
    for name in selection.classes:
        if name not in split.class_names:
            hint = did_you_mean(name, split.class_names)
            raise UsageError(f"classes: the data has no class '{name}'", hint=hint)
    part = of_classes(split, selection.classes)
    if selection.other_images == KEPT:
        return part
    pairs = zip(split.records, part.records, strict=True)
    kept = tuple(left for whole, left in pairs if len(left.classes) or not len(whole.classes))
    return dataclasses.replace(part, records=kept)


def _first_drawn(split: CocoSplit, selection: Selection) -> CocoSplit:
    """The share of the images; what a smaller share takes is in a larger one of the same seed."""
    count = max(1, round(selection.fraction * len(split.records)))
    order = np.random.default_rng([selection.seed, DRAW_KEY]).permutation(len(split.records))
    chosen = tuple(split.records[i] for i in sorted(order[:count].tolist()))
    return dataclasses.replace(split, records=chosen)


def _note(whole: CocoSplit, part: CocoSplit) -> str:
    return (
        f"{whole.name}: taken are {len(part.class_names)} of {len(whole.class_names)} classes,"
        f" {len(part.records)} of {len(whole.records)} images,"
        f" {_num_boxes(part.records)} of {_num_boxes(whole.records)} boxes"
    )


def _num_boxes(records: Sequence[ImageRecord]) -> int:
    return sum(len(record.classes) for record in records)


def _counted(report: SplitReport, split: CocoSplit) -> SplitReport:
    """The report with the counts of a part of its split; what was dropped is that of the whole."""
    per_class = Counter(int(c) for record in split.records for c in record.classes)
    return dataclasses.replace(
        report,
        images=len(split.records),
        images_without_boxes=sum(not len(record.classes) for record in split.records),
        boxes=per_class.total(),
        crowd_boxes=sum(int(record.crowd.sum()) for record in split.records),
        boxes_per_class={text: per_class[c] for c, text in enumerate(split.class_names)},
    )
