"""The classes of a COCO folder or annotation file, without reading its images."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from detkit.core.errors import DataError
from detkit.data.coco.coco_json import Categories, read_categories, read_document
from detkit.data.coco.faults import FaultLog
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
