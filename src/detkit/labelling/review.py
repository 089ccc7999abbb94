"""What a person looks at first: every image by its doubt, and pages of the most doubtful ones."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from detkit.artifact.outputs import claim
from detkit.artifact.writing import write_text
from detkit.core.boxes import Detections
from detkit.data.coco.split_reader import ImageRecord
from detkit.data.draw import printable, save_image
from detkit.data.image import read_image
from detkit.data.thumbnails import COLUMNS, ROWS, Thumbnail, thumbnail_page
from detkit.labelling.doubt import Doubt
from detkit.labelling.image_labels import ImageLabels
from detkit.labelling.images import LabelItem
from detkit.report import DoubtfulImage

VERB = "data label"  # that the folder is made by
LIST_FILE, SHEET_FOLDER = "doubtful.csv", "sheets"
COLUMN_NAMES = ("image", "split", "doubt", "boxes", "near_misses", "conflicts")
REPORTED = 20  # images in the report; all are in the list
PAGE = COLUMNS * ROWS


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """An image that may come onto a page."""

    row: DoubtfulImage
    human: ImageRecord | None
    labels: ImageLabels


class ReviewList:
    """All images with their doubt, and what is drawn on the pages: no more than these show."""

    def __init__(self, num_sheets: int) -> None:
        self._rows: list[tuple[DoubtfulImage, str]] = []
        self._shown: list[_Seen] = []
        self._room = num_sheets * PAGE

    def add(self, item: LabelItem, labels: ImageLabels, doubt: Doubt, num_boxes: int) -> None:
        """Adds an image; those without doubt come onto no page."""
        row = DoubtfulImage(
            image=f"images/{item.name}",
            doubt=doubt.value,
            boxes=num_boxes,
            near_misses=doubt.near_misses,
            conflicts=doubt.conflicts,
        )
        self._rows.append((row, item.split))
        if doubt.value > 0:
            self._shown.append(_Seen(row=row, human=item.human, labels=labels))
        if len(self._shown) > 2 * self._room:
            self._shown = self._most_doubtful()

    def write(self, out: Path, class_names: Sequence[str]) -> tuple[str, ...]:
        """Writes the list and the pages; gives the names of the pages below `out`.

        Raises:
            DetkitError: the folder cannot be written to.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMN_NAMES)
        for row, split in sorted(self._rows, key=lambda pair: _order(pair[0])):
            figures = (f"{row.doubt:.4f}", row.boxes, row.near_misses, row.conflicts)
            writer.writerow((row.image, split, *figures))
        write_text(out / LIST_FILE, text.getvalue())
        return tuple(self._write_pages(out, class_names))

    @property
    def most_doubtful(self) -> tuple[DoubtfulImage, ...]:
        """The first images of the list."""
        rows = sorted((row for row, _ in self._rows if row.doubt > 0), key=_order)
        return tuple(rows[:REPORTED])

    def _most_doubtful(self) -> list[_Seen]:
        return sorted(self._shown, key=lambda seen: _order(seen.row))[: self._room]

    def _write_pages(self, out: Path, class_names: Sequence[str]) -> Iterator[str]:
        shown = self._most_doubtful()
        num_pages = -(-len(shown) // PAGE)
        for number in range(1, num_pages + 1):
            chosen = shown[(number - 1) * PAGE : number * PAGE]
            title = f"page {number} of {num_pages}, most doubtful first; near misses dashed; {out}"
            page = thumbnail_page([_thumbnail(out, seen, class_names) for seen in chosen], title)
            name = f"{SHEET_FOLDER}/doubtful-{number:03}.png"
            claim(out, VERB, name)
            save_image(out / name, page)
            yield name


def _order(row: DoubtfulImage) -> tuple[float, str]:
    return -row.doubt, row.image


def _thumbnail(out: Path, seen: _Seen, class_names: Sequence[str]) -> Thumbnail:
    """The image with people's boxes by name, the model's by score, near misses dashed."""
    human, row = seen.human, seen.row
    labels, near = seen.labels.labels, seen.labels.near_misses
    boxes, classes = [labels.boxes_xyxy, near.boxes_xyxy], [labels.classes, near.classes]
    texts = [*_texts(labels, class_names), *([""] * len(near))]
    if human is not None:
        boxes, classes = [human.boxes_xyxy, *boxes], [human.classes, *classes]
        texts = [*(printable(class_names[k]) for k in human.classes), *texts]
    figures = f"doubt {row.doubt:.2f}   boxes {row.boxes}   near misses {row.near_misses}"
    return Thumbnail(
        image=read_image(out / row.image, size_hint=(human.width, human.height) if human else None),
        boxes_xyxy=np.concatenate(boxes),
        classes=np.concatenate(classes),
        texts=texts,
        num_dashed=len(near),
        caption=(row.image, f"{figures}   conflicts {row.conflicts}"),
    )


def _texts(found: Detections, class_names: Sequence[str]) -> Iterator[str]:
    for label, score in zip(found.classes.tolist(), found.scores.tolist(), strict=True):
        yield f"{printable(class_names[label])} {score:.2f}"
