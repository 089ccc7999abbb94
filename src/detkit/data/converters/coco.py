"""COCO folders whose boxes are to be read in another way: corners, shares, crowds as objects."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from detkit.core.errors import DataError
from detkit.data.coco.coco_json import Document, read_document
from detkit.data.coco.faults import FaultLog
from detkit.data.coco.json_values import Json, identity, mark, numbers, whole
from detkit.data.coco.layout import SplitFiles, find_layout
from detkit.data.coco.split_reader import label_of
from detkit.data.converters.labels import BoxReading

PLAIN = BoxReading(form="xywh", unit="pixels")


def read_coco(
    source: Path,
    reading: BoxReading,
    *,
    crowd: bool,
    files: Mapping[str, tuple[Path, Path]] | None = None,
) -> tuple[dict[str, Document], dict[str, SplitFiles], FaultLog]:
    """The documents of a folder, their boxes as xywh in pixels, and where their files lie.

    Args:
        reading: what the four numbers of a box are.
        crowd: keep the marks of crowd regions; otherwise they become objects.
        files: split -> (annotation file, image folder), instead of a known layout.

    Raises:
        DataError: no COCO folder, or an annotation file that cannot be read.
    """
    layout, log = find_layout(source, files), FaultLog()
    documents: dict[str, Document] = {}
    for split, there in layout.splits.items():
        document = read_document(there.json_path, label_of(source, there.json_path), log)
        if document is None:
            fault = log.faults[-1]
            raise DataError(f"{fault.file}: {fault.reason}: {fault.detail}")
        documents[split] = _read_again(document, reading, crowd=crowd)
    return documents, layout.splits, log


def _read_again(document: Document, reading: BoxReading, *, crowd: bool) -> Document:
    sizes = {
        identity(item.get("id")): (whole(item.get("width")), whole(item.get("height")))
        for item in document.images
    }
    annotations: Sequence[Json] = document.annotations
    if reading != PLAIN:
        annotations = [_box_read(item, reading, sizes) for item in annotations]
    if not crowd:
        annotations = [
            {**item, "iscrowd": 0} if mark(item.get("iscrowd")) else item for item in annotations
        ]
    return dataclasses.replace(
        document,
        annotations=list(annotations),
        box_form=reading.form,
        box_unit=reading.unit,
    )


def _box_read(item: Json, reading: BoxReading, sizes: Mapping[int | str, tuple[int, int]]) -> Json:
    """The annotation with its box as xywh in pixels; its area was that of other numbers."""
    quad = numbers(item.get("bbox"), 4)
    width, height = sizes.get(identity(item.get("image_id")), (0, 0))
    if quad is None:
        return item
    if reading.unit != "pixels" and not (width and height):
        return {**item, "bbox": "of an image without width and height"}
    box = reading.xywh(quad, width, height)
    return {**item, "bbox": list(box), "area": box[2] * box[3]}
