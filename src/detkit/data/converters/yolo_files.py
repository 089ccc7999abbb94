"""Which images and label files a YOLO folder has: by data.yaml, lists, or the names of folders."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from detkit.core.errors import DataError
from detkit.data.coco import faults
from detkit.data.coco.faults import FaultLog
from detkit.data.coco.layout import SPLIT_OF_WORD, SPLITS, YOLO_NAME_LISTS, YOLO_YAMLS
from detkit.data.converters.labels import divided, files_below, read_text
from detkit.data.converters.yolo_yaml import YoloYaml, read_yolo_yaml
from detkit.data.image import is_image_name


def settings_of(source: Path) -> YoloYaml:
    """The class names, splits and key points that a folder states.

    Raises:
        DataError: no file with class names, or one that cannot be read.
    """
    for name in YOLO_YAMLS:
        if (path := source / name).is_file():
            return read_yolo_yaml(path)
    for name in YOLO_NAME_LISTS:
        if (path := source / name).is_file():
            names = [line.strip() for line in read_text(path).splitlines() if line.strip()]
            return YoloYaml(names=dict(enumerate(names)))
    others = sorted(path.name for path in source.glob("*.y*ml"))
    hint = "it needs data.yaml or classes.txt"
    raise DataError(
        f"{source}: no class names",
        hint=f"{hint}; rename {others[0]} to data.yaml" if len(others) == 1 else hint,
    )


# --- images --------------------------------------------------------------------------------------


def files_of_splits(source: Path, settings: YoloYaml, log: FaultLog) -> dict[str, list[Path]]:
    """Split -> image files, from data.yaml, else from folders, else divided by name.

    Raises:
        DataError: data.yaml or a list names a path outside the folder, or one that is not there.
    """
    if settings.splits:
        return {
            split: [file for entry in entrys for file in _images(source, settings, entry)]
            for split, entrys in settings.splits.items()
        }
    images = _folder(source, "images") or source
    folders: dict[str, list[Path]] = {}
    for home in dict.fromkeys((images, source)):
        for folder in sorted(path for path in home.iterdir() if path.is_dir()):
            if split := SPLIT_OF_WORD.get(folder.name.lower()):
                folders.setdefault(split, []).extend(_below(folder))
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
    return [_listed(source, (path.parent, source / settings.path, source), line) for line in listed]


def _listed(source: Path, homes: Sequence[Path], line: str) -> Path:
    """A file of a list: relative to the list, to `path:` or to the folder, where it is there."""
    tries = [home / line for home in homes]
    tries = [path for path in tries if path.resolve().is_relative_to(source.resolve())]
    if not tries:
        raise DataError(
            f"{source}: '{line}' leads out of the folder",
            hint="write the paths of lists relative to the list or to the folder",
        )
    found = next((path for path in tries if path.exists()), tries[-1])
    return source / found.resolve().relative_to(source.resolve())


def _inside(source: Path, settings: YoloYaml, entry: str) -> Path:
    """Where a path of data.yaml lies; Roboflow writes `../train/images` for train/images."""
    tries = [source / settings.path / entry, source / entry, source / entry.removeprefix("../")]
    for path in tries:
        if path.resolve().is_relative_to(source.resolve()) and path.exists():
            return path
    raise DataError(
        f"{source}: data.yaml names '{entry}', which is not in the folder",
        hint="write it relative to the folder, or to 'path:'",
    )


def _below(folder: Path) -> list[Path]:
    return [path for path in files_below(folder) if is_image_name(path.name)]


# --- labels --------------------------------------------------------------------------------------


def find_labels(source: Path, images: Iterable[Path]) -> dict[Path, Path]:
    """The label file of each image that has one."""
    found: dict[Path, Path] = {}
    for image in images:
        for path in label_files(source, image):
            if path.is_file():
                found[image] = path
                break
    return found


def label_files(source: Path, image: Path) -> list[Path]:
    """Where the labels of an image may lie: `.../images/.../a.jpg` -> `.../labels/.../a.txt`.

    Folders may be written in capitals; without a folder of labels, beside the image.
    """
    parts = image.relative_to(source).parts
    beside = image.with_suffix(".txt")
    for at in range(len(parts) - 2, -1, -1):
        home = source.joinpath(*parts[:at])
        if parts[at].lower() == "images" and (labels := _folder(home, "labels")):
            return [labels.joinpath(*parts[at + 1 :]).with_suffix(".txt"), beside]
    return [beside]


def _folder(home: Path, name: str) -> Path | None:
    """The folder of this name below `home`, in capitals or not."""
    exact = home / name
    if exact.is_dir():
        return exact
    alike = (path for path in home.iterdir() if path.name.lower() == name and path.is_dir())
    return min(alike, default=None)
