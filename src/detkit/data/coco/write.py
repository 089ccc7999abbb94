"""A new COCO folder on disk: images first, the splits' JSON last and atomically.

A folder whose making was interrupted lacks the JSON, so it is never taken for a whole one.
"""

from __future__ import annotations

import contextlib
import json
import math
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from detkit.artifact.writing import atomic_path, sync_files, write_error
from detkit.core.boxes import Array, xywh_from_xyxy

ANNOTATIONS = "annotations"
LEAST_SCORE = 1e-6  # a score is written with six decimals, and 0 would be no score


@dataclass(frozen=True, kw_only=True)
class LabelledImage:
    """An image below `images/` and its boxes: xyxy (N, 4) pixels, classes (N,) from 0.

    Where they are given: `scores` (N,), NaN for a box without one, marks of crowd regions `crowd`
    (N,), and `area` (N,) square pixels in place of the boxes' own. `known` (C,) are the classes
    that were looked for; None stands for all of them (see `write_split`).
    """

    file_name: str
    width: int
    height: int
    boxes_xyxy: Array
    classes: npt.NDArray[np.int64]
    scores: Array | None = None
    crowd: npt.NDArray[np.bool_] | None = None
    area: npt.NDArray[np.float64] | None = None
    known: npt.NDArray[np.bool_] | None = None


class SplitWriter:
    """One split, image by image: what is added waits in two files without names, not in memory."""

    def __init__(self, images: IO[str], annotations: IO[str]) -> None:
        self._images, self._annotations = images, annotations
        self.num_images = self.num_boxes = 0
        self.file_names: list[str] = []

    def add(self, item: LabelledImage) -> None:
        """Adds an image; ids of images, boxes and classes start at 1."""
        entry: dict[str, object] = {
            "id": self.num_images + 1,
            "file_name": item.file_name,
            "width": item.width,
            "height": item.height,
            **_federated(item),
        }
        self._images.write(("," if self.num_images else "") + _compact(entry))
        self.num_images += 1
        self.file_names.append(item.file_name)
        for annotation in _annotations(item, self.num_images, self.num_boxes):
            self._annotations.write(("," if self.num_boxes else "") + _compact(annotation))
            self.num_boxes += 1

    def write(self, path: Path, class_names: Sequence[str]) -> None:
        """Writes the JSON of all that was added."""
        categories = [
            {"id": i, "name": name, "supercategory": ""}
            for i, name in enumerate(class_names, start=1)
        ]
        with path.open("w", encoding="utf-8") as file:  # a name of `atomic_path`
            for before, part in (
                ('{"images":[', self._images),
                ('],"annotations":[', self._annotations),
            ):
                file.write(before)
                part.seek(0)
                shutil.copyfileobj(part, file)
            file.write(f'],"categories":{_compact(categories)}}}\n')


@contextlib.contextmanager
def split_writers(out: Path, class_names: Sequence[str]) -> Iterator[Callable[[str], SplitWriter]]:
    """Gives the writer of a split by its name; the JSON of all asked for appears at the end.

    The images that it names are on the disk before it. After an error no
    `annotations/instances_<split>.json` is there that was not there before.

    Raises:
        DetkitError: the folder cannot be written to.
    """
    folder = out / ANNOTATIONS
    writers: dict[str, SplitWriter] = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.ExitStack() as stack:

            def waiting() -> IO[str]:
                return stack.enter_context(
                    tempfile.TemporaryFile("w+", encoding="utf-8", dir=folder)
                )

            def writer_of(split: str) -> SplitWriter:
                if split not in writers:
                    writers[split] = SplitWriter(waiting(), waiting())
                return writers[split]

            yield writer_of
            names = [name for writer in writers.values() for name in writer.file_names]
            images = (out / "images" / name for name in names)
            sync_files(path for path in images if path.is_file())
            for split, writer in writers.items():  # all are whole before the first gets its name
                path = out / annotations_name(split)
                writer.write(stack.enter_context(atomic_path(path)), class_names)
    except OSError as error:
        raise write_error(folder, error) from error


def annotations_name(split: str) -> str:
    """The name of a split's JSON below its folder."""
    return f"{ANNOTATIONS}/instances_{split}.json"


def write_split(
    out: Path, split: str, images: Sequence[LabelledImage], class_names: Sequence[str]
) -> Path:
    """Writes `annotations/instances_<split>.json`; ids of images, boxes and classes start at 1.

    A box that has a score carries it as `score`, as in COCO's result format. An image whose
    `known` leaves classes out carries LVIS' `neg_category_ids` (looked for, and not there) and
    `not_exhaustive_category_ids` (there, and perhaps more of them).
    """
    with split_writers(out, class_names) as writer_of:
        writer = writer_of(split)
        for image in images:
            writer.add(image)
    return out / annotations_name(split)


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _federated(item: LabelledImage) -> dict[str, list[int]]:
    if item.known is None or item.known.all():
        return {}
    there = np.zeros_like(item.known)
    there[item.classes] = True
    absent, incomplete = item.known & ~there, there & ~item.known
    found = {"neg_category_ids": (np.flatnonzero(absent) + 1).tolist()}
    if incomplete.any():
        found["not_exhaustive_category_ids"] = (np.flatnonzero(incomplete) + 1).tolist()
    return found


def _annotations(item: LabelledImage, image_id: int, last_id: int) -> Iterator[dict[str, object]]:
    count = len(item.classes)
    scores = np.full(count, np.nan) if item.scores is None else item.scores
    crowd = np.zeros(count, bool) if item.crowd is None else item.crowd
    boxes = xywh_from_xyxy(item.boxes_xyxy).tolist()
    areas = [box[2] * box[3] for box in boxes] if item.area is None else item.area.tolist()
    columns = item.classes.tolist(), boxes, areas, crowd.tolist(), scores.tolist()
    rows = enumerate(zip(*columns, strict=True), start=last_id + 1)
    for number, (label, box, area, is_crowd, score) in rows:
        annotation: dict[str, object] = {
            "id": number,
            "image_id": image_id,
            "category_id": label + 1,
            "bbox": [round(x, 3) for x in box],
            "area": round(area, 3),
            "iscrowd": int(is_crowd),
        }
        if not math.isnan(score):
            annotation["score"] = min(max(round(score, 6), LEAST_SCORE), 1.0)
        yield annotation
