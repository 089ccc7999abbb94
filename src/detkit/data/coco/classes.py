"""The classes of a COCO folder or annotation file: read without its images, matched by name."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from detkit.core.boxes import Indices
from detkit.core.errors import DataError, did_you_mean
from detkit.data.coco.categories import Categories, read_categories
from detkit.data.coco.coco_json import read_document
from detkit.data.coco.faults import FaultLog
from detkit.data.coco.folder import CocoFolder, CocoSplit
from detkit.data.coco.layout import find_layout
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
    """Finds each class of the model in `data_names`: (K,) indices; the order may differ.

    Raises:
        DataError: the names are not the same set.
    """
    for names, others, owner in (
        (data_names, model_names, "the model does not know"),
        (model_names, data_names, "the data does not have"),
    ):
        missing = sorted(set(names) - set(others))
        if missing:
            raise DataError(
                f"{owner} the class '{missing[0]}'"
                + (f" and {len(missing) - 1} more" if len(missing) > 1 else ""),
                hint=did_you_mean(missing[0], others),
            )
    return np.array([list(data_names).index(name) for name in model_names], np.int64)


def in_class_order(folder: CocoFolder, class_names: Sequence[str]) -> CocoFolder:
    """The folder with its classes in this order, as those of a model are.

    Raises:
        DataError: the names are not the same set.
    """
    splits = {name: _reordered(split, class_names) for name, split in folder.splits.items()}
    return dataclasses.replace(folder, splits=splits)


def _reordered(split: CocoSplit, class_names: Sequence[str]) -> CocoSplit:
    if split.class_names == tuple(class_names):
        return split
    old_of_new = match_classes(class_names, split.class_names)
    new_of_old = np.argsort(old_of_new)
    return dataclasses.replace(
        split,
        class_names=tuple(class_names),
        category_ids=tuple(split.category_ids[old] for old in old_of_new.tolist()),
        records=tuple(
            dataclasses.replace(
                record,
                classes=new_of_old[record.classes],
                known=None if record.known is None else record.known[old_of_new],
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
