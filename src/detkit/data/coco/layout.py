"""Where the splits of a folder lie: three layouts known by sight, or files named one by one."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from detkit.core.errors import DataError
from detkit.data.coco.coco_json import read_document, read_images
from detkit.data.coco.commands import convert_command
from detkit.data.coco.faults import FaultLog

SPLITS = ("train", "val", "test")
SPLIT_OF_WORD = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
YOLO_YAMLS = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
YOLO_NAME_LISTS = ("classes.txt", "labels/classes.txt", "obj.names", "classes.names")
VOC_IMAGES = ("JPEGImages", "images")
ROBOFLOW_FILE = "_annotations.coco.json"
FOLDERS_SEARCHED = 1000  # for the images of an annotation file that was named alone
INSTANCES = re.compile(r"instances_(train|val|valid|test)(\d{4})?\.json")

EXPECTED = (
    "expected images/ + annotations/instances_{train,val,test}.json, "
    "train2017/ + annotations/instances_train2017.json, or train/_annotations.coco.json"
)


@dataclass(frozen=True, kw_only=True)
class SplitFiles:
    """One split's annotation file, and the folders its file names may be relative to."""

    json_path: Path
    image_roots: tuple[Path, ...]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A layout (coco, coco2017, roboflow or files) and the files of its splits."""

    name: str
    splits: dict[str, SplitFiles]


def find_layout(root: Path, files: Mapping[str, tuple[Path, Path]] | None = None) -> Layout:
    """The layout of `root`; `files` names (annotations, image folder) of each split instead.

    Raises:
        DataError: no such folder, or none of the three layouts.
    """
    if files:
        return Layout(name="files", splits={s: _named(*pair) for s, pair in files.items()})
    if not root.is_dir():
        what = "no folder" if root.exists() else "no such folder"
        raise DataError(f"{what}: {root}", hint=_file_hint(root) or EXPECTED)
    for find in (_roboflow, _instances):
        if layout := find(root):
            return layout
    raise DataError(f"{root} is not a COCO folder", hint=_converter_hint(root) or EXPECTED)


def _file_hint(path: Path) -> str:
    """What to type in the place of a file that describes a data set."""
    if path.is_file() and path.suffix.lower() in (".yaml", ".yml"):
        return _converter_hint(path.parent)
    if path.is_file() and path.suffix.lower() == ".json":
        return f"--train-json {path} --train-images DIR --val-json FILE --val-images DIR"
    return ""


def _converter_hint(root: Path) -> str:
    """The line that makes a COCO folder of one with YOLO or VOC labels; else nothing."""
    if any((root / name).is_file() for name in (*YOLO_YAMLS, *YOLO_NAME_LISTS)):
        kind = "yolo"
    elif (root / "Annotations").is_dir() and any((root / n).is_dir() for n in VOC_IMAGES):
        kind = "voc"
    else:
        return ""
    out = shlex.quote(root.resolve().name + "-coco")
    return f"{convert_command(root, from_=kind)} -o {out}"


def split_named(json_path: Path) -> str:
    """The split that a file's name, or its folder's, speaks of; train where it speaks of none.

    >>> split_named(Path("valid/_annotations.coco.json")), split_named(Path("result.json"))
    ('val', 'train')
    """
    words = re.split(r"[^a-z]+", f"{json_path.parent.name} {json_path.stem}".lower())
    return next((SPLIT_OF_WORD[word] for word in reversed(words) if word in SPLIT_OF_WORD), "train")


def lone_file(json_path: Path, images: Path | None = None) -> dict[str, tuple[Path, Path]]:
    """An annotation file by itself, as `files` of `find_layout`.

    Without `images`, the first folder at or below the file's own in which its first image lies; its
    own where there is none.
    """
    folder = images or _folder_of_images(json_path) or json_path.parent
    return {split_named(json_path): (json_path, folder)}


def _folder_of_images(json_path: Path) -> Path | None:
    document = read_document(json_path, str(json_path), FaultLog())
    entries = read_images(document, FaultLog()) if document else []
    if not entries:
        return None
    name = entries[0].file_name
    folders = itertools.islice(os.walk(json_path.parent), FOLDERS_SEARCHED)
    return next((Path(path) for path, _, _ in folders if (Path(path) / name).is_file()), None)


def _named(json_path: Path, images: Path) -> SplitFiles:
    if not images.is_dir():
        raise DataError(f"no such image folder: {images}")
    return SplitFiles(json_path=json_path, image_roots=(images,))


def _roboflow(root: Path) -> Layout | None:
    found = {
        SPLIT_OF_WORD[folder.name]: SplitFiles(json_path=json_path, image_roots=(folder,))
        for folder in sorted(root.iterdir())
        if folder.name in SPLIT_OF_WORD and (json_path := folder / ROBOFLOW_FILE).is_file()
    }
    return Layout(name="roboflow", splits=_ordered(found)) if found else None


def _instances(root: Path) -> Layout | None:
    found: dict[str, SplitFiles] = {}
    years = False
    annotations = root / "annotations"
    for json_path in sorted(annotations.glob("instances_*.json")):
        if match := INSTANCES.fullmatch(json_path.name):
            word, year = match[1], match[2] or ""
            years = years or bool(year)
            found.setdefault(
                SPLIT_OF_WORD[word],
                SplitFiles(json_path=json_path, image_roots=_image_roots(root, word, year)),
            )
    name = "coco2017" if years else "coco"
    return Layout(name=name, splits=_ordered(found)) if found else None


def _image_roots(root: Path, word: str, year: str) -> tuple[Path, ...]:
    images = root / "images"
    folders = (images, images / f"{word}{year}", images / word, root / f"{word}{year}", root / word)
    return tuple(dict.fromkeys(folder for folder in (*folders, root) if folder.is_dir()))


def _ordered(splits: dict[str, SplitFiles]) -> dict[str, SplitFiles]:
    return {name: splits[name] for name in SPLITS if name in splits}


def choose_root(files: SplitFiles, names: list[str], *, sample: int = 20) -> Path:
    """The image folder in which most of the first names exist; the first one on a tie."""
    probe = names[:sample]
    hits = [
        sum(existing_form(root / name).is_file() for name in probe) for root in files.image_roots
    ]
    return files.image_roots[hits.index(max(hits))]


def existing_form(path: Path) -> Path:
    """The path, or its other Unicode form where only that exists (archives made on macOS)."""
    if not path.exists():
        for form in ("NFC", "NFD"):
            other = path.with_name(unicodedata.normalize(form, path.name))
            if other.exists():
                return other
    return path
