"""A new COCO folder on disk: images first, each split's JSON last and atomically.

A folder whose making was interrupted lacks the JSON, so it is never taken for a whole one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from detkit.artifact.artifact import write_text
from detkit.core.boxes import Array, xywh_from_xyxy


@dataclass(frozen=True, kw_only=True)
class LabelledImage:
    """An image below `images/` and its boxes: xyxy (N, 4) pixels, classes (N,) from 0."""

    file_name: str
    width: int
    height: int
    boxes_xyxy: Array
    classes: npt.NDArray[np.int64]


def write_split(
    out: Path, split: str, images: Sequence[LabelledImage], class_names: Sequence[str]
) -> Path:
    """Writes `annotations/instances_<split>.json`; ids of images, boxes and classes start at 1."""
    path = out / "annotations" / f"instances_{split}.json"
    document = {
        "images": [
            {"id": i, "file_name": item.file_name, "width": item.width, "height": item.height}
            for i, item in enumerate(images, start=1)
        ],
        "annotations": _annotations(images),
        "categories": [
            {"id": i, "name": name, "supercategory": ""}
            for i, name in enumerate(class_names, start=1)
        ],
    }
    write_text(path, json.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\n")
    return path


def _annotations(images: Sequence[LabelledImage]) -> list[dict[str, object]]:
    annotations: list[dict[str, object]] = []
    for image_id, item in enumerate(images, start=1):
        for box, label in zip(xywh_from_xyxy(item.boxes_xyxy).tolist(), item.classes, strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": int(label) + 1,
                    "bbox": [round(x, 3) for x in box],
                    "area": round(box[2] * box[3], 3),
                    "iscrowd": 0,
                }
            )
    return annotations
