"""Which images are labelled, what they are called in the new folder, and the split of each."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from detkit.config import LabelConfig
from detkit.core.errors import DataError, UsageError
from detkit.data.coco import faults
from detkit.data.coco.coco_json import escape_reason
from detkit.data.coco.folder import CocoFolder, open_folder
from detkit.data.coco.layout import find_layout
from detkit.data.coco.split_reader import ImageRecord, label_of
from detkit.data.find_images import find_images, names_below_common_folder

IMAGE_FAULTS = (faults.FILE_MISSING, faults.UNDECODABLE)


@dataclass(frozen=True, kw_only=True)
class LabelItem:
    """An image, its name below `images/` of the new folder, and what people drew on it."""

    path: Path
    name: str
    split: str
    human: ImageRecord | None = None


@dataclass(frozen=True, kw_only=True)
class LabelSource:
    """The images in the order they are labelled, those that people labelled first.

    `human_names` are the classes of the labels that exist; `skipped` are images of theirs that
    cannot be used, and why; `dropped_human_boxes` is the number of such boxes.
    """

    items: tuple[LabelItem, ...]
    human_names: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    dropped_human_boxes: int = 0


def find_label_images(
    sources: Sequence[Path], out: Path, config: LabelConfig, *, annotations: Path | None = None
) -> LabelSource:
    """Finds the images of files and folders, of a COCO folder, or of `annotations` and beside them.

    A COCO folder is what its annotations list, each image in its split. With `annotations` the only
    source is their image folder, and the images there that they do not list are labelled too. What
    lies below `out` is left out, as it will be replaced.

    Raises:
        DataError: no images, or annotations that cannot be used.
        UsageError: settings that do not go together, or labels of people that lie below `out`.
    """
    if annotations is not None:
        return _listed_and_others(_only_folder(sources), annotations, out, config)
    if len(sources) == 1 and _is_coco_folder(sources[0]):
        return _coco_folder(sources[0], out, config)
    paths = [path for path in find_images(sources) if not _is_below(path, out)]
    if not paths:
        raise DataError(f"no images in {', '.join(map(str, sources))} but those of {out}")
    names = [name.as_posix() for name in names_below_common_folder(sources, paths)]
    return LabelSource(items=_items(zip(paths, names, strict=True), {}, config))


def safe_name(name: str) -> str:
    """A name that COCO annotations can hold: text, without backslashes and drives.

    >>> safe_name("a/b.jpg"), safe_name("c:\\\\d.jpg")
    ('a/b.jpg', 'c__d.jpg')
    """
    if not escape_reason(name):
        return name
    text = name.encode("utf-8", "replace").decode().replace("\\", "_")
    return text.replace(":", "_")


def _only_folder(sources: Sequence[Path]) -> Path:
    if len(sources) != 1 or not sources[0].is_dir():
        raise UsageError("--annotations: IMAGES is to be the one folder that they are about")
    return sources[0]


def _is_below(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


def _check_apart(labels: Path, records: Iterable[ImageRecord], out: Path) -> None:
    """Raises UsageError where annotations or their images lie in the folder to be replaced."""
    for path in (labels, *(record.path for record in records)):
        if _is_below(path, out):
            raise UsageError(f"{path} lies in {out}, which is replaced", hint="-o another folder")


def _is_coco_folder(folder: Path) -> bool:
    try:
        return bool(find_layout(folder).splits)
    except DataError:
        return False


def _coco_folder(root: Path, out: Path, config: LabelConfig) -> LabelSource:
    if config.val_share:
        raise UsageError(f"val_share: the images of {root} have their splits")
    folder = open_folder(
        root, splits=(config.split,) if config.split else None, verify_pixels=False
    )
    rows = [(split.name, record) for split in folder.splits.values() for record in split.records]
    _check_apart(root, (record for _, record in rows), out)
    names = _distinct([(str(r.path), r.file_name, split) for split, r in rows])
    items = tuple(
        LabelItem(path=record.path, name=name, split=split, human=record)
        for (split, record), name in zip(rows, names, strict=True)
    )
    return _source(items, folder)


def _listed_and_others(
    root: Path, annotations: Path, out: Path, config: LabelConfig
) -> LabelSource:
    split = config.split or "train"
    folder = open_folder(root, files={split: (annotations, root)}, verify_pixels=False)
    records = folder.split(split).records
    _check_apart(annotations, records, out)
    listed = {record.path.resolve() for record in records}
    unusable = {fault.file for fault in folder.report.faults if fault.reason in IMAGE_FAULTS}
    others = [
        path
        for path in find_images([root])
        if not (path.resolve() in listed or label_of(root, path) in unusable)
        and not _is_below(path, out)
    ]
    paths = [*(record.path for record in records), *others]
    names = [record.file_name for record in records]
    names += [name.as_posix() for name in names_below_common_folder([root], others)]
    humans = dict(enumerate(records))
    return _source(_items(zip(paths, names, strict=True), humans, config), folder)


def _source(items: tuple[LabelItem, ...], folder: CocoFolder) -> LabelSource:
    dropped = [f for f in folder.report.faults if f.action == "dropped"]
    names = folder.report.class_names
    return LabelSource(
        items=items,
        human_names=names,
        skipped=tuple(f"{f.file}: {f.reason}" for f in dropped if f.reason in IMAGE_FAULTS),
        dropped_human_boxes=sum(split.dropped_boxes for split in folder.report.splits),
    )


def _items(
    found: Iterable[tuple[Path, str]], humans: dict[int, ImageRecord], config: LabelConfig
) -> tuple[LabelItem, ...]:
    paths, given = zip(*found, strict=True)
    split = config.split or "train"
    names = _distinct([(str(path), name, split) for path, name in zip(paths, given, strict=True)])
    val = val_names(names, config.val_share, config.seed)
    return tuple(
        LabelItem(path=path, name=name, split="val" if name in val else split, human=humans.get(i))
        for i, (path, name) in enumerate(zip(paths, names, strict=True))
    )


def _distinct(rows: Sequence[tuple[str, str, str]]) -> list[str]:
    """A safe name for each path, name and split; a name that is taken goes below its split's."""
    taken: dict[str, str] = {}
    names = []
    for path, given, split in rows:
        name = safe_name(given)
        for prefix in (split, *map(str, range(len(rows)))):
            if taken.setdefault(name, path) == path:
                break
            name = f"{prefix}/{safe_name(given)}"
        names.append(name)
    return names


def val_names(names: Sequence[str], share: float, seed: int) -> set[str]:
    """The share of the names, at least one, that comes first by a hash with the seed.

    So an image's place in the order does not depend on which others are there.
    """
    if not share:
        return set()

    def key(name: str) -> str:
        return hashlib.sha256(os.fsencode(f"{seed}/{name}")).hexdigest()

    return set(sorted(set(names), key=key)[: max(1, round(share * len(names)))])
