"""The classes of a COCO folder or annotation file: read without its images, matched by name."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np

from detkit.core.boxes import Indices
from detkit.core.errors import DataError, did_you_mean
from detkit.data.coco.categories import Categories, read_categories
from detkit.data.coco.coco_json import read_document
from detkit.data.coco.faults import FaultLog
from detkit.data.coco.folder import CocoFolder, CocoSplit
from detkit.data.coco.layout import find_layout
from detkit.data.coco.split_reader import ImageRecord
from detkit.spec.onnx_description import OnnxDescription

PREFERRED = ("val", "test", "train")  # the small ones first: all have the same classes


def read_classes(source: Path, *, split: str = "") -> Categories:
    """Names and category ids, in the order of the ids.

    Args:
        source: an annotation file, or a folder.
        split: of a folder; the smallest usual one by default.

    Raises:
        DataError: no COCO folder or file, or no classes in it.
    """
    path = _annotations(source, split) if source.is_dir() else source
    log = FaultLog()
    document = read_document(path, str(path), log)
    categories = read_categories([document], log) if document else None
    if categories is None or not categories.names:
        found = [f"{fault.reason}: {fault.detail}" for fault in log.faults]
        raise DataError(f"{path}: no classes: {'; '.join(found[:2])}")
    return categories


def with_class_names(
    spec: OnnxDescription, source: Path | None = None, *, split: str = ""
) -> OnnxDescription:
    """The description with the class names that its `classes_from` or else `source` has.

    Unchanged where it names its classes itself, or where there is nowhere to take names from.

    Raises:
        DataError: as `read_classes`.
    """
    chosen = Path(spec.classes_from) if spec.classes_from else source
    if chosen is None or spec.class_names:
        return spec
    names = _names_by_number(read_classes(chosen, split=split), spec)
    return dataclasses.replace(spec, class_names=names, classes_from="")


def match_classes(model_names: Sequence[str], data_names: Sequence[str]) -> Indices:
    """Finds each class of the model in `data_names`: (K,) indices, -1 for one that is not there.

    Raises:
        DataError: the data has a class that the model does not know.
    """
    unknown = sorted(set(data_names) - set(model_names))
    if unknown:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        shared = set(data_names) & set(model_names)
        cure = "; `detkit eval --shared-classes` scores those that both have" if shared else ""
        raise DataError(
            f"the model does not know the class '{unknown[0]}'{more}",
            hint=f"{did_you_mean(unknown[0], model_names)}{cure}",
        )
    class_of = {name: c for c, name in enumerate(data_names)}
    return np.array([class_of.get(name, -1) for name in model_names], np.int64)


def of_classes(split: CocoSplit, class_names: Collection[str]) -> CocoSplit:
    """The split with those of its classes alone that are among these, and the boxes of them.

    Raises:
        DataError: it has none of them.
    """
    kept = [c for c, name in enumerate(split.class_names) if name in class_names]
    if not kept:
        raise DataError(
            f"the data has none of the model's classes, but {', '.join(split.class_names[:3])}",
            hint=did_you_mean(split.class_names[0], class_names) if split.class_names else "",
        )
    new_of_old = np.full(len(split.class_names), -1)
    new_of_old[kept] = np.arange(len(kept))
    return dataclasses.replace(
        split,
        class_names=tuple(split.class_names[c] for c in kept),
        category_ids=tuple(split.category_ids[c] for c in kept),
        records=tuple(_of_classes(record, new_of_old, kept) for record in split.records),
    )


def _of_classes(record: ImageRecord, new_of_old: Indices, kept: list[int]) -> ImageRecord:
    classes = new_of_old[record.classes]
    chosen = classes >= 0
    return dataclasses.replace(
        record,
        boxes_xyxy=record.boxes_xyxy[chosen],
        classes=classes[chosen],
        crowd=record.crowd[chosen],
        area=record.area[chosen],
        scores=record.scores[chosen],
        known=None if record.known is None else record.known[kept],
    )


def in_class_order(folder: CocoFolder, class_names: Sequence[str]) -> CocoFolder:
    """The folder with these classes in this order, as those of a model are.

    Classes that the folder does not have are there without boxes, numbered after its own.

    Raises:
        DataError: the folder has a class that is not among them.
    """
    splits = {name: _reordered(split, class_names) for name, split in folder.splits.items()}
    return dataclasses.replace(folder, splits=splits)


def _reordered(split: CocoSplit, class_names: Sequence[str]) -> CocoSplit:
    if split.class_names == tuple(class_names):
        return split
    old_of_new = match_classes(class_names, split.class_names)
    there = old_of_new >= 0
    new_of_old = np.zeros(len(split.class_names), np.int64)
    new_of_old[old_of_new[there]] = np.flatnonzero(there)
    numbers = itertools.count(max(split.category_ids) + 1)
    return dataclasses.replace(
        split,
        class_names=tuple(class_names),
        category_ids=tuple(
            split.category_ids[old] if old >= 0 else next(numbers) for old in old_of_new.tolist()
        ),
        records=tuple(
            dataclasses.replace(
                record,
                classes=new_of_old[record.classes],
                known=None if record.known is None else record.known[old_of_new] & there,
            )
            for record in split.records
        ),
    )


def _names_by_number(categories: Categories, spec: OnnxDescription) -> tuple[str, ...]:
    """The name of each number that the model gives, "" where no class has it."""
    if spec.labels == "index":
        return categories.names
    names = dict(zip(categories.ids, categories.names, strict=True))
    first = 1 if spec.outputs.background == "first" else 0
    return tuple(names.get(number, "") for number in range(first, max(names) + 1))


def _annotations(folder: Path, split: str) -> Path:
    there = find_layout(folder).splits
    names = (split,) if split in there else PREFERRED
    return next(there[name].json_path for name in names if name in there)
