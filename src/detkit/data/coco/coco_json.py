"""A COCO JSON document: its images and categories, every fault noted on the way.

What lives here: what the JSON says of images and classes. What does not: its boxes (see
`annotations`), which files are there (see `records`) and what they hold (see `verify`).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeGuard

from detkit.core.reading import bytes_of
from detkit.data.coco import faults
from detkit.data.coco.faults import FaultLog

NAME_LIMIT = 255  # bytes of one path component on every common file system
PATH_LIMIT = 2048  # bytes of a whole file name, well below what Linux allows

FEDERATED = ("neg_category_ids", "not_exhaustive_category_ids")

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Document:
    """A COCO annotation file: its three lists of objects, and the SHA-256 of its bytes."""

    label: str
    images: list[Json]
    annotations: list[Json]
    categories: list[Json]
    sha256: str


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


@dataclass(frozen=True, kw_only=True)
class Categories:
    """Class names and the JSON's category ids, both in the order of the ids."""

    names: tuple[str, ...]
    ids: tuple[int, ...]


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
    lists: dict[str, list[Json]] = {}
    for key in ("images", "annotations", "categories"):
        items = plain.get(key) if isinstance(plain, dict) else None
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            log.add(faults.BAD_STRUCTURE, label, f"'{key}' is not a list of objects")
            return None
        lists[key] = items
    return Document(label=label, sha256=sha256, **lists)


# --- categories ----------------------------------------------------------------------------------


def read_categories(documents: Sequence[Document], log: FaultLog) -> Categories:
    """The categories all documents agree on, in the order of their ids."""
    tables = [_category_table(document, log) for document in documents]
    tables = _without_root(documents, tables, log)
    first = tables[0] if tables else {}
    for document, table in zip(documents, tables, strict=True):
        if table != first:
            log.add(faults.CATEGORY_MISMATCH, document.label, _difference(first, table))
    ids = tuple(sorted(first))
    return Categories(names=tuple(first[i] for i in ids), ids=ids)


def _category_table(document: Document, log: FaultLog) -> dict[int, str]:
    table: dict[int, str] = {}
    for item in document.categories:
        number, name = item.get("id"), item.get("name")
        if not isinstance(number, int) or isinstance(number, bool) or not is_text(name):
            log.add(faults.BAD_STRUCTURE, document.label, f"category {item!r:.80}")
        elif number in table or name in table.values():
            log.add(faults.DUPLICATE_CATEGORY, document.label, f"{number} '{name}'")
        else:
            table[number] = name
    if not document.categories:
        log.add(faults.BAD_STRUCTURE, document.label, "no categories")
    return table


def _without_root(
    documents: Sequence[Document], tables: list[dict[int, str]], log: FaultLog
) -> list[dict[int, str]]:
    """Leaves out Roboflow's category 0, which only groups the others and has no boxes."""
    roots = [_root_name(document) for document in documents]
    if not roots or None in roots:
        return tables
    for document, name in zip(documents, roots, strict=True):
        log.add(faults.ROOT_CLASS, document.label, f"0 '{name}'")
    return [{i: name for i, name in table.items() if i != 0} for table in tables]


def _root_name(document: Document) -> str | None:
    names = [item.get("name") for item in document.categories if item.get("id") == 0]
    groups = [item.get("supercategory") for item in document.categories if item.get("id") != 0]
    used = any(item.get("category_id") == 0 for item in document.annotations)
    grouping = len(names) == 1 and bool(groups) and all(group == names[0] for group in groups)
    return names[0] if grouping and not used else None


def _difference(a: Mapping[int, str], b: Mapping[int, str]) -> str:
    numbers = [i for i in sorted({*a, *b}) if a.get(i) != b.get(i)]
    return f"id {numbers[0]} is '{b.get(numbers[0], '-')}', elsewhere '{a.get(numbers[0], '-')}'"


# --- images --------------------------------------------------------------------------------------


def read_images(document: Document, log: FaultLog) -> list[ImageEntry]:
    """The well-formed images; what makes a folder unusable is noted as rejected."""
    entries: dict[int | str, ImageEntry] = {}
    renumber = any(isinstance(item.get("id"), str) for item in document.images)
    for position, item in enumerate(document.images, start=1):
        entry = _read_entry(item, position if renumber else None)
        if entry is None:
            log.add(faults.BAD_STRUCTURE, document.label, f"image {item!r:.80}")
        elif reason := escape_reason(entry.file_name):
            log.add(faults.PATH_ESCAPE, document.label, f"{entry.file_name!r:.80}: {reason}")
        elif entry.key in entries:
            log.add(faults.DUPLICATE_IMAGE, document.label, f"id {entry.key!r}")
        else:
            entries[entry.key] = entry
    if renumber:
        log.add(faults.IMAGE_IDS, document.label, count=len(entries))
    names = Counter(entry.file_name for entry in entries.values())
    for name, times in names.items():
        if times > 1:
            log.add(faults.REPEATED, document.label, f"{name!r:.80}", count=times - 1)
    return list(entries.values())


def _read_entry(item: Json, number: int | None) -> ImageEntry | None:
    key, name = item.get("id"), item.get("file_name")
    if not isinstance(key, (int, str)) or isinstance(key, bool):
        return None
    if not isinstance(name, str) or not name:
        return None
    lists = [_category_ids(item.get(key)) for key in FEDERATED]
    if any((ids is None) != (item.get(k) is None) for ids, k in zip(lists, FEDERATED, strict=True)):
        return None
    absent, incomplete = lists
    width, height = _whole(item.get("width")), _whole(item.get("height"))
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
    if not isinstance(value, list) or not all(type(number) is int for number in value):
        return None
    return tuple(value)


def _whole(value: object) -> int:
    """A positive whole number, 640.0 included; 0 for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return 0
    return int(value) if 0 < value < 1 << 31 and value == int(value) else 0


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
