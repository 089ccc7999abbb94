"""The ids by which an annotation file calls images and categories, for what is to match them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from detkit.core.errors import DataError
from detkit.data.coco.coco_json import Document, read_document
from detkit.data.coco.faults import FaultLog
from detkit.data.coco.layout import find_layout

LARGEST_READ = 50_000_000  # bytes of an annotation file that is read to see whether it is meant
LEVELS = 3  # folders upwards from an image's in which a COCO folder is looked for

Id = int | str


@dataclass(frozen=True, kw_only=True)
class OutputIds:
    """What each image (by its place) and each class is called; None for a class without an id."""

    images: tuple[Id, ...]
    classes: tuple[Id | None, ...]


def counted_ids(num_images: int, num_classes: int) -> OutputIds:
    """Ids that count from 1, in order."""
    return OutputIds(
        images=tuple(range(1, num_images + 1)), classes=tuple(range(1, num_classes + 1))
    )


def ids_of_file(path: Path, names: Sequence[Path], class_names: Sequence[str]) -> OutputIds:
    """The ids of an annotation file, as they are written there.

    Args:
        names: of the images, relative to a folder; matched by the whole, else by the last part.

    Raises:
        DataError: a file that cannot be read, or without one of the images, or all of the classes.
    """
    log = FaultLog()
    document = read_document(path, str(path), log)
    if document is None:
        fault = log.faults[-1]
        raise DataError(f"{fault.file}: {fault.reason}: {fault.detail}")
    of_image = _by_name(document)
    missing = [name for name in names if _find(of_image, name) is None]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise DataError(
            f"{path} does not list the image {missing[0]}{more}",
            hint="predict on its images alone, or without --annotations",
        )
    numbers = {item.get("name"): item.get("id") for item in document.categories}
    classes = tuple(numbers.get(name) for name in class_names)
    if not any(number is not None for number in classes):
        raise DataError(
            f"{path} has none of the model's classes",
            hint=f"give its categories these names: {', '.join(class_names[:5])}",
        )
    images = tuple(found for name in names if (found := _find(of_image, name)) is not None)
    return OutputIds(images=images, classes=classes)


def _by_name(document: Document) -> dict[str, Id | None]:
    """File name -> id, and the last part of it -> id where no other image has that."""
    found: dict[str, Id | None] = {}
    for item in document.images:
        name, number = str(item.get("file_name")), item.get("id")
        last = name.rsplit("/", 1)[-1]
        if last != name:
            found[last] = None if last in found else number
    return {**found, **{str(item.get("file_name")): item.get("id") for item in document.images}}


def _find(of_image: dict[str, Id | None], name: Path) -> Id | None:
    number = of_image.get(name.as_posix())
    return of_image.get(name.name) if number is None else number


def file_that_lists(image: Path) -> Path | None:
    """The annotation file of the COCO folder in which an image lies, if one lists it."""
    for folder in list(image.resolve().parents)[:LEVELS]:
        try:
            layout = find_layout(folder)
        except DataError:
            continue
        for files in layout.splits.values():
            if files.json_path.stat().st_size > LARGEST_READ:
                return files.json_path
            document = read_document(files.json_path, "", FaultLog())
            if document and _find(_by_name(document), Path(image.name)) is not None:
                return files.json_path
        return None
    return None
