"""A COCO JSON document and its images, every fault noted on the way.

What does not live here: its classes (see `categories`), its boxes (see `annotations`), which files
are there (see `split_reader`) and what they hold (see `verify`).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, TypeGuard

from detkit.core.reading import bytes_of
from detkit.data.coco import faults
from detkit.data.coco.faults import FaultLog
from detkit.data.coco.json_values import (
    Json,
    category_number,
    identity,
    is_written_otherwise,
    whole,
)

NAME_LIMIT = 255  # bytes of one path component on every common file system
PATH_LIMIT = 2048  # bytes of a whole file name, well below what Linux allows

LISTS = ("images", "annotations", "categories")
IDS = ("id", "image_id", "category_id")
OTHER_NUMBERS = ("width", "height", "bbox", "area", "iscrowd", "score")
FEDERATED = ("neg_category_ids", "not_exhaustive_category_ids")


@dataclass(frozen=True, kw_only=True)
class Document:
    """A COCO annotation file: its three lists of objects, and the SHA-256 of its bytes.

    `box_form` and `box_unit` are how its source wrote the boxes, which are xywh pixels here.
    """

    label: str
    images: list[Json]
    annotations: list[Json]
    categories: list[Json]
    sha256: str
    box_form: str = "xywh"
    box_unit: str = "pixels"


@dataclass(frozen=True, kw_only=True)
class ImageEntry:
    """One image as the JSON has it; width and height are 0 where it does not say.

    `key` is what its annotations call it, `label` what messages call it. Where `absent` is there,
    the labels are complete only for the categories that have boxes and those in `absent`, without
    those in `incomplete`: LVIS' `neg_category_ids` and `not_exhaustive_category_ids` (Gupta et al.,
    CVPR 2019, arXiv 1908.03195).
    """

    key: int | str
    image_id: int
    file_name: str
    width: int
    height: int
    label: str = ""
    absent: tuple[int, ...] | None = None
    incomplete: tuple[int, ...] = ()


class _NotFiniteError(Exception):
    pass


def read_document(path: Path, label: str, log: FaultLog) -> Document | None:
    """The parsed file, or None with the reason in `log`."""
    try:
        raw = bytes_of(path)
        plain = json.loads(raw, parse_constant=_refuse_constant)
    except _NotFiniteError as error:
        log.add(faults.NOT_FINITE, label, str(error))
    except RecursionError:
        log.add(faults.BAD_FILE, label, "nested too deeply")
    except OSError as error:
        log.add(faults.BAD_FILE, label, error.strerror or str(error))
    except ValueError as error:
        log.add(faults.BAD_FILE, label, str(error))
    else:
        return _checked(plain, label, hashlib.sha256(raw).hexdigest(), log)
    return None


def _refuse_constant(name: str) -> NoReturn:
    """NaN and Infinity, which Python's parser accepts and COCO evaluators turn into AP 1.0."""
    raise _NotFiniteError(name)


def _checked(plain: object, label: str, sha256: str, log: FaultLog) -> Document | None:
    if not isinstance(plain, dict):
        log.add(faults.BAD_STRUCTURE, label, f"it holds {_kind(plain)} in place of an object")
        return None
    for key in LISTS:
        items = plain.get(key)
        if not isinstance(items, list):
            log.add(faults.BAD_STRUCTURE, label, _without_list(plain, key))
            return None
        if not all(isinstance(item, dict) for item in items):
            log.add(faults.BAD_STRUCTURE, label, f"'{key}' is not a list of objects")
            return None
    return Document(label=label, sha256=sha256, **{key: plain[key] for key in LISTS})


def _kind(plain: object) -> str:
    if isinstance(plain, list):
        return "a list (detections, not annotations?)"
    return f"{plain!r:.40}"


def _without_list(plain: Json, key: str) -> str:
    if key in plain:
        return f"'{key}' is not a list of objects"
    return f"no '{key}'; it has {', '.join(repr(other)[:40] for other in list(plain)[:5])}"


def missing_key(item: Json, key: str) -> str:
    """What is wrong with a key that an object needs: it is not there, or its value makes no sense.

    >>> missing_key({"id": 1}, "name")
    "has no 'name'"
    >>> missing_key({"id": None}, "id")
    "has the 'id' None"
    """
    return f"has the '{key}' {item[key]!r:.40}" if key in item else f"has no '{key}'"


# --- images --------------------------------------------------------------------------------------


def read_images(document: Document, log: FaultLog) -> list[ImageEntry]:
    """The well-formed images; what makes a folder unusable is noted as rejected."""
    entries: dict[int | str, ImageEntry] = {}
    keys = [identity(item.get("id")) for item in document.images]
    renumber = any(isinstance(key, str) and key for key in keys)
    for position, item in enumerate(document.images, start=1):
        entry = _read_entry(item, position if renumber else None)
        if isinstance(entry, str):
            log.add(faults.BAD_STRUCTURE, document.label, f"image {item!r:.80} {entry}")
        elif reason := escape_reason(entry.file_name):
            log.add(faults.PATH_ESCAPE, document.label, f"{entry.file_name!r:.80}: {reason}")
        elif entry.key in entries:
            log.add(faults.DUPLICATE_IMAGE, document.label, f"id {entry.key!r}")
        else:
            entries[entry.key] = entry
    if renumber:
        log.add(faults.IMAGE_IDS, document.label, count=len(entries))
    _note_numbers(document, log)
    names = Counter(entry.file_name for entry in entries.values())
    for name, times in names.items():
        if times > 1:
            log.add(faults.REPEATED, document.label, f"{name!r:.80}", count=times - 1)
    return list(entries.values())


def _note_numbers(document: Document, log: FaultLog) -> None:
    """One remark a file for whole numbers that were written in another way."""
    items = (*document.images, *document.annotations, *document.categories)
    count = sum(is_written_otherwise(item, IDS, OTHER_NUMBERS) for item in items)
    if count:
        log.add(faults.NUMBERS_READ, document.label, count=count)


def _read_entry(item: Json, number: int | None) -> ImageEntry | str:
    """The image, or what is wrong with it."""
    key, name = identity(item.get("id")), item.get("file_name")
    if key == "":
        return missing_key(item, "id")
    if not isinstance(name, str) or not name:
        return missing_key(item, "file_name")
    lists = {key: _category_ids(item.get(key)) for key in FEDERATED}
    for federated, ids in lists.items():
        if ids is None and item.get(federated) is not None:
            return missing_key(item, federated)
    absent, incomplete = lists.values()
    width, height = whole(item.get("width")), whole(item.get("height"))
    known = width > 0 and height > 0
    return ImageEntry(
        key=key,
        image_id=number if number is not None else int(key),
        file_name=name,
        width=width if known else 0,
        height=height if known else 0,
        absent=absent if incomplete is None else absent or (),
        incomplete=incomplete or (),
    )


def _category_ids(value: object) -> tuple[int, ...] | None:
    """A list of category ids; None for anything else."""
    if not isinstance(value, list):
        return None
    numbers = [number for item in value if (number := category_number(item)) is not None]
    return tuple(numbers) if len(numbers) == len(value) else None


def escape_reason(name: str) -> str:
    """Why a file name is not a plain relative path, or nothing."""
    if "\\" in name or re.match(r"[A-Za-z]:", name):
        return "write it with / and without a drive"
    if name.startswith("/"):
        return "it must be relative"
    if ".." in name.split("/"):
        return "it must not contain .."
    return "" if _is_possible(name) else "no file can have this name"


def _is_possible(name: str) -> bool:
    if "\0" in name or not is_text(name):
        return False
    raw = name.encode()
    return len(raw) <= PATH_LIMIT and all(len(part) <= NAME_LIMIT for part in raw.split(b"/"))


def is_text(value: object) -> TypeGuard[str]:
    """Text that is not empty and can be written as UTF-8: JSON may hold halves of characters."""
    return isinstance(value, str) and bool(value) and not re.search("[\ud800-\udfff]", value)
