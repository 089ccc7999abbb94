"""What the readers of other label formats have in common: images with raw boxes -> a Document.

A Document made here goes through the very checks a COCO file does (see `annotations`), so that
every fault is found, fixed or dropped, and reported alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from detkit.core.errors import DataError
from detkit.core.reading import text_of
from detkit.data.coco.coco_json import Document, Json
from detkit.data.coco.faults import FaultLog

MAX_TEXT_BYTES = 1 << 20  # of one label or settings file
SHARES = (("train", 0.8), ("val", 0.9), ("test", 1.0))  # up to which share of the images


@dataclass(frozen=True, kw_only=True)
class RawBox:
    """A box as read: category as the format numbers it; no `xywh` where it made no sense."""

    category: int
    xywh: tuple[float, ...] | None


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
    """A folder as read: `class_names` by the numbers that boxes use, and its splits."""

    class_names: Mapping[int, str]
    splits: Mapping[str, RawSplit]
    log: FaultLog


def document_of(label: str, split: RawSplit, class_names: Mapping[int, str]) -> Document:
    """The split as a COCO document."""
    images: list[Json] = []
    annotations: list[Json] = []
    for image_id, image in enumerate(split.images, start=1):
        size = {"width": image.width, "height": image.height}
        images.append({"id": image_id, "file_name": image.file_name, **size})
        for box in image.boxes:
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": box.category,
                    "bbox": None if box.xywh is None else list(box.xywh),
                    "area": 0,
                    "iscrowd": 0,
                }
            )
    return Document(
        label=label,
        images=images,
        annotations=annotations,
        categories=[{"id": number, "name": name} for number, name in class_names.items()],
        sha256=hashlib.sha256(repr((images, annotations)).encode()).hexdigest(),
    )


def divided(names: Sequence[str]) -> dict[str, list[str]]:
    """80 % train, 10 % val, 10 % test, by the SHA-256 of the names: the same in every run."""
    mixed = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
    parts, start = {}, 0
    for split, share in SHARES:
        end = round(share * len(mixed))
        parts[split] = sorted(mixed[start:end])
        start = end
    return {split: part for split, part in parts.items() if part}


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
