"""The classes of a COCO folder or annotation file, without looking at its images."""

from __future__ import annotations

from pathlib import Path

from detkit.core.errors import DataError
from detkit.data.coco.coco_json import Categories, read_categories, read_document
from detkit.data.coco.faults import FaultLog
from detkit.data.coco.layout import find_layout

PREFERRED = ("val", "test", "train")  # the small ones first: all have the same classes


def read_classes(place: Path, *, split: str = "") -> Categories:
    """Names and category ids, in the order of the ids.

    Args:
        place: an annotation file, or a folder.
        split: of a folder; the smallest usual one by default.

    Raises:
        DataError: no COCO folder or file, or no classes in it.
    """
    path = _annotations(place, split) if place.is_dir() else place
    log = FaultLog()
    document = read_document(path, str(path), log)
    categories = read_categories([document], log) if document else None
    if categories is None or not categories.names:
        told = [f"{fault.reason}: {fault.detail}" for fault in log.faults]
        raise DataError(f"{path}: no classes: {'; '.join(told[:2])}")
    return categories


def _annotations(folder: Path, split: str) -> Path:
    there = find_layout(folder).splits
    names = (split,) if split in there else PREFERRED
    return next(there[name].json_path for name in names if name in there)
