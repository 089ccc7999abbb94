"""What the readers of other label formats have in common: images with raw boxes -> a Document.

A Document made here goes through the very checks a COCO file does (see `annotations`), so that
every fault is found, fixed or dropped, and reported alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from detkit.core.errors import DataError
from detkit.core.reading import text_of
from detkit.data.coco.coco_json import Document
from detkit.data.coco.faults import FaultLog
from detkit.data.coco.json_values import Json
from detkit.data.coco.suspicion import corners

MAX_TEXT_BYTES = 1 << 20  # of one label or settings file

Xywh = tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class BoxReading:
    """What the four numbers of a box are: a form and a unit of `coco.suspicion`."""

    form: str
    unit: str

    def xywh(self, numbers: Sequence[float], width: float, height: float) -> Xywh:
        """Four numbers as left, top, width, height in pixels of an image of this size.

        >>> BoxReading(form="cxcywh", unit="shares").xywh([0.5, 0.5, 0.5, 0.25], 40, 40)
        (10.0, 15.0, 20.0, 10.0)
        """
        scale = {"pixels": (1, 1), "percent": (width / 100, height / 100)}
        x, y = scale.get(self.unit, (width, height))
        quad = np.array([numbers], np.float64) * (x, y, x, y)
        left, top, right, bottom = corners(quad, self.form)[0].tolist()
        return left, top, right - left, bottom - top


@dataclass(frozen=True, kw_only=True)
class RawBox:
    """A box as read: its category as the format calls it, and xywh in pixels, or what is wrong."""

    category: int | str
    xywh: Xywh | str


@dataclass(frozen=True, kw_only=True)
class RawImage:
    """An image and its boxes; width and height are 0 where the format does not say."""

    file_name: str
    width: int = 0
    height: int = 0
    boxes: tuple[RawBox, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RawSplit:
    """The images of a split; `unreadable` ones were left out: their labels made no sense."""

    images: tuple[RawImage, ...]
    image_root: Path
    unreadable: int = 0


@dataclass(frozen=True, kw_only=True)
class RawFolder:
    """A folder as read: `class_names` by the numbers that boxes use, and its splits.

    `left_out` images are in no split, `label_files` are all there are, `labels_left_out` those that
    no image of a split has.
    """

    class_names: Mapping[int, str]
    splits: Mapping[str, RawSplit]
    log: FaultLog
    left_out: int = 0
    label_files: int = 0
    labels_left_out: int = 0


def document_of(
    label: str, split: RawSplit, class_names: Mapping[int, str], reading: BoxReading
) -> Document:
    """The split as a COCO document, whose boxes were read like that."""
    images: list[Json] = []
    annotations: list[Json] = []
    for image_id, image in enumerate(split.images, start=1):
        size = {"width": image.width, "height": image.height}
        images.append({"id": image_id, "file_name": image.file_name, **size})
        for box in image.boxes:
            xywh = box.xywh if isinstance(box.xywh, str) else list(box.xywh)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": box.category,
                    "bbox": xywh,
                    "area": 0 if isinstance(xywh, str) else xywh[2] * xywh[3],
                    "iscrowd": 0,
                }
            )
    return Document(
        label=label,
        images=images,
        annotations=annotations,
        categories=[{"id": number, "name": name} for number, name in class_names.items()],
        sha256=hashlib.sha256(repr((images, annotations)).encode()).hexdigest(),
        box_form=reading.form,
        box_unit=reading.unit,
    )


def divided(names: Sequence[str]) -> dict[str, list[str]]:
    """80 % train, 10 % val (of two, one), 10 % test, by the SHA-256 of the names: always the same.

    Returns: split -> its names in order, without splits that have none.
    """
    mixed = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
    tenth = round(0.1 * len(mixed))
    val = max(tenth, min(1, len(mixed) - 1))
    train = len(mixed) - tenth - val
    parts = {
        "train": mixed[:train],
        "val": mixed[train : train + val],
        "test": mixed[train + val :],
    }
    return {split: sorted(part) for split, part in parts.items() if part}


def files_below(folder: Path) -> Iterator[Path]:
    """All files below a folder in the order of their names, hidden ones and folders left out."""
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if not hidden and path.is_file():
            yield path


def read_text(path: Path) -> str:
    """A small UTF-8 text file.

    Raises:
        DataError: missing, too large to be one, or not UTF-8.
    """
    try:
        if path.stat().st_size > MAX_TEXT_BYTES:
            raise DataError(f"{path}: larger than {MAX_TEXT_BYTES >> 20} MiB")
        return text_of(path, "utf-8-sig")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: not UTF-8 text") from error
