"""The categories of a folder: those of all its annotation files, which are matched by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from detkit.data.coco import faults
from detkit.data.coco.coco_json import Document, is_text, missing_key
from detkit.data.coco.faults import FaultLog
from detkit.data.coco.json_values import category_number, identity


@dataclass(frozen=True, kw_only=True)
class Categories:
    """Class names and category ids of the file that has the most, in the order of its ids."""

    names: tuple[str, ...]
    ids: tuple[int, ...]

    def classes_of(self, document: Document) -> dict[int | str, int]:
        """The file's own category ids -> classes; a category left out of the folder has none."""
        class_of = {name: c for c, name in enumerate(self.names)}
        table = _table(document, FaultLog())
        return {i: class_of[name] for i, name in table.items() if name in class_of}


def read_categories(documents: Sequence[Document], log: FaultLog) -> Categories:
    """The categories of all documents: those of the one that has every other's.

    A file may lack some of them, or number them otherwise: names say what a class is.
    """
    tables = [_table(document, log) for document in documents]
    fullest = max(tables, key=len, default={})
    for document, table in zip(documents, tables, strict=True):
        _note_differences(document, table, fullest, log)
    ids = tuple(sorted(fullest))
    return Categories(names=tuple(fullest[i] for i in ids), ids=ids)


def _note_differences(
    document: Document, table: dict[int, str], fullest: dict[int, str], log: FaultLog
) -> None:
    used = _used(document)
    unknown = [i for i, name in sorted(table.items()) if name not in fullest.values()]
    missing = [name for _, name in sorted(fullest.items()) if name not in table.values()]
    moved = [i for i in sorted(table) if i not in unknown and fullest.get(i, table[i]) != table[i]]
    if with_boxes := [table[i] for i in unknown if i in used]:
        elsewhere = f"; only elsewhere: {_listed(missing)}" if missing else ""
        detail = f"only here: {_listed(with_boxes)}{elsewhere}"
        log.add(faults.CATEGORY_MISMATCH, document.label, detail)
        return
    if unknown:
        names = _listed([table[i] for i in unknown])
        log.add(faults.CATEGORY_UNUSED, document.label, names, count=len(unknown))
    if missing:
        log.add(faults.CATEGORIES_FEWER, document.label, _listed(missing), count=len(missing))
    if moved:
        detail = f"{moved[0]} is '{table[moved[0]]}', elsewhere '{fullest[moved[0]]}'"
        log.add(faults.CATEGORY_NUMBERS, document.label, detail, count=len(moved))


def _table(document: Document, log: FaultLog) -> dict[int, str]:
    """Category id -> name, without those that cannot be told apart, and without a group."""
    table: dict[int, str] = {}
    names: set[str] = set()
    group = _unused_group(document)
    for position, item in enumerate(document.categories):
        number, name = category_number(item.get("id")), item.get("name")
        if position == group:
            log.add(faults.ROOT_CLASS, document.label, f"{number} '{name}'")
        elif number is None or not is_text(name):
            problem = missing_key(item, "id" if number is None else "name")
            log.add(faults.BAD_STRUCTURE, document.label, f"category {item!r:.80} {problem}")
        elif number in table or name in names:
            log.add(faults.DUPLICATE_CATEGORY, document.label, f"{number} '{name}'")
        else:
            table[number] = name
            names.add(name)
    if not document.categories:
        log.add(faults.BAD_STRUCTURE, document.label, "no categories")
    return table


def _unused_group(document: Document) -> int | None:
    """The position of the category that only groups all the others, as Roboflow writes one.

    It is the `supercategory` of every other, and has no boxes.
    """
    supers = [item.get("supercategory") for item in document.categories]
    counts = Counter(filter(is_text, supers))
    for name in (name for name, count in counts.items() if count == len(supers) - 1):
        position = next(i for i, text in enumerate(supers) if text != name)
        group = document.categories[position]
        used = category_number(group.get("id")) in _used(document)
        if group.get("name") == name and not used:
            return position
    return None


def _used(document: Document) -> set[int | str | None]:
    """The ids of categories that have boxes."""
    return {identity(item.get("category_id")) for item in document.annotations}


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(f"'{name}'" for name in names[:3]) + more
