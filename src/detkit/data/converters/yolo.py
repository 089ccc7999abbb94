"""YOLO folders: images/, labels/ with a text file an image, names in data.yaml or classes.txt.

A row is `class x y w h`, centre and size as shares of the image, or `class x1 y1 x2 y2 ...`, a
polygon, whose envelope is taken. An image without a label file has no boxes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from detkit.core.errors import DataError
from detkit.data.coco import faults
from detkit.data.coco.faults import FaultLog
from detkit.data.coco.layout import SPLIT_OF_WORD, SPLITS
from detkit.data.converters.labels import (
    RawBox,
    RawFolder,
    RawImage,
    RawSplit,
    divided,
    read_text,
)
from detkit.data.converters.yolo_yaml import YoloYaml, read_yolo_yaml
from detkit.data.image import is_image_name, open_image

UNKNOWN_CLASS = -1


def read_yolo(source: Path) -> RawFolder:
    """The folder's images, boxes and splits; classes keep their numbers.

    Raises:
        DataError: no class names, no images, or a path that leads out of the folder.
    """
    settings = _settings(source)
    log = FaultLog()
    splits = {
        split: _read_split(source, files, log)
        for split, files in _files_of_splits(source, settings, log).items()
        if files
    }
    if not splits:
        raise DataError(f"{source} is not a YOLO folder", hint="it needs images/ and labels/")
    return RawFolder(class_names=settings.names, splits=splits, log=log)


def _settings(source: Path) -> YoloYaml:
    for name in ("data.yaml", "data.yml", "dataset.yaml"):
        if (path := source / name).is_file():
            return read_yolo_yaml(path)
    if (path := source / "classes.txt").is_file():
        names = [line.strip() for line in read_text(path).splitlines() if line.strip()]
        return YoloYaml(names=dict(enumerate(names)))
    raise DataError(f"{source}: no class names", hint="it needs data.yaml or classes.txt")


# --- which images ------------------------------------------------------------------------------


def _files_of_splits(source: Path, settings: YoloYaml, log: FaultLog) -> dict[str, list[Path]]:
    """Split -> image files, from data.yaml, else from folders, else divided by name."""
    if settings.splits:
        return {
            split: [file for entry in entrys for file in _images(source, settings, entry)]
            for split, entrys in settings.splits.items()
        }
    images = source / "images"
    folders = {
        SPLIT_OF_WORD[folder.name]: _below(folder)
        for home in (images, source)
        if home.is_dir()
        for folder in sorted(home.iterdir())
        if folder.is_dir() and folder.name in SPLIT_OF_WORD
    }
    if folders:
        return {split: folders[split] for split in SPLITS if split in folders}
    log.add(faults.NO_SPLIT_LIST, source.name)
    files = {path.relative_to(images).as_posix(): path for path in _below(images)}
    return {split: [files[n] for n in names] for split, names in divided(list(files)).items()}


def _images(source: Path, settings: YoloYaml, entry: str) -> list[Path]:
    """The images of a folder, or those a text file lists."""
    path = _inside(source, settings, entry)
    if path.is_dir():
        return _below(path)
    listed = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    return [_within(source, path.parent / line) for line in listed]


def _inside(source: Path, settings: YoloYaml, entry: str) -> Path:
    """Where a path of data.yaml lies; Roboflow writes `../train/images` for train/images."""
    tries = [source / settings.path / entry, source / entry, source / entry.removeprefix("../")]
    for path in tries:
        if path.resolve().is_relative_to(source.resolve()) and path.exists():
            return path
    raise DataError(f"{source}: data.yaml names '{entry}', which is not in the folder")


def _within(source: Path, path: Path) -> Path:
    if not path.resolve().is_relative_to(source.resolve()):
        raise DataError(f"{source}: '{path}' leads out of the folder")
    return source / path.resolve().relative_to(source.resolve())


def _below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if is_image_name(path.name))


# --- labels --------------------------------------------------------------------------------------


def _read_split(source: Path, files: Sequence[Path], log: FaultLog) -> RawSplit:
    root = _common_folder(source, files)
    read = [_read_image(source, root, file, log) for file in files]
    images = tuple(image for image in read if image is not None)
    return RawSplit(images=images, image_root=root, unreadable=len(read) - len(images))


def _common_folder(source: Path, files: Sequence[Path]) -> Path:
    """The deepest folder that holds all the files."""
    folder = files[0].parent
    while folder != source and not all(file.is_relative_to(folder) for file in files):
        folder = folder.parent
    return folder


def _read_image(source: Path, root: Path, file: Path, log: FaultLog) -> RawImage | None:
    """The image and its boxes; None, with a note, where the labels cannot be read."""
    name = file.relative_to(root).as_posix()
    labels = label_file(source, file)
    try:
        with open_image(file) as (_, facts):
            width, height = facts.upright_size
    except DataError:
        return RawImage(file_name=name)  # noted when the image is decoded
    try:
        text = read_text(labels) if os.path.lexists(labels) else ""
    except DataError as error:
        log.add(faults.BAD_LABELS, labels.relative_to(source).as_posix(), str(error))
        return None
    rows = [line.split() for line in text.splitlines() if line.strip()]
    boxes = tuple(_box(row, width, height) for row in rows)
    return RawImage(file_name=name, width=width, height=height, boxes=boxes)


def label_file(source: Path, image: Path) -> Path:
    """`.../images/.../a.jpg` -> `.../labels/.../a.txt`; beside the image without `images`."""
    parts = list(image.relative_to(source).parts)
    if "images" in parts:
        last = len(parts) - 1 - parts[::-1].index("images")
        parts[last] = "labels"
    return source.joinpath(*parts).with_suffix(".txt")


def _box(row: Sequence[str], width: int, height: int) -> RawBox:
    category = int(row[0]) if row[0].isdecimal() else UNKNOWN_CLASS
    try:
        numbers = [float(word) for word in row[1:]]
    except ValueError:
        return RawBox(category=category, xywh=None)
    if len(numbers) == 4:
        x, y, wide, tall = numbers
        left, top = x - wide / 2, y - tall / 2
    elif len(numbers) >= 6 and len(numbers) % 2 == 0:
        left, top = min(numbers[::2]), min(numbers[1::2])
        wide, tall = max(numbers[::2]) - left, max(numbers[1::2]) - top
    else:
        return RawBox(category=category, xywh=None)
    xywh = (left * width, top * height, wide * width, tall * height)
    return RawBox(category=category, xywh=xywh)
