"""Pascal VOC folders: Annotations/*.xml, JPEGImages/, ImageSets/Main/{train,val,test}.txt.

XML files may also lie beside their images. Corners are taken as they stand, `xmax - xmin` wide:
labelling tools write them from 0 and exclusive, other than the first VOC data did (from 1,
inclusive). `difficult` objects are ordinary boxes.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from detkit.core.errors import DataError
from detkit.data.coco import faults
from detkit.data.coco.coco_json import escape_reason
from detkit.data.coco.faults import FaultLog
from detkit.data.coco.json_values import number, whole
from detkit.data.coco.layout import SPLIT_OF_WORD, SPLITS
from detkit.data.converters.labels import (
    BoxReading,
    RawBox,
    RawFolder,
    RawImage,
    RawSplit,
    Xywh,
    divided,
    files_below,
    read_text,
)
from detkit.data.image import is_image_name

CORNERS = ("xmin", "ymin", "xmax", "ymax")
ANNOTATIONS, IMAGES = ("annotations",), ("jpegimages", "images")  # folders, in lower case
LISTS = ("ImageSets/Main", "ImageSets", ".")  # where lists of splits may lie
BOTH = "trainval"  # what is listed here and in no other list is trained on
MOST_NAMED = 5  # lists
MARKS = ("1", "0", "-1")  # behind a name in the lists of a class

NamedBoxes = list[tuple[str, Xywh | str]]  # class name, xywh or what is wrong


@dataclass(frozen=True, kw_only=True)
class _VocFolder:
    """The XML files and images of a folder by their names without suffix, relative to its homes."""

    source: Path
    image_root: Path
    labels: Mapping[str, Path]
    images: Mapping[str, str]  # -> path below the image root
    log: FaultLog = field(default_factory=FaultLog)

    def image_of(self, stem: str, stated: str) -> str:
        """The image of an XML file: of the same name, else of its only name, else as it states."""
        beside = Path(stem).with_name(Path(stated).stem or "-").as_posix()
        found = _of_name(self.images, stem) or _of_name(self.images, beside)
        return self.images[found] if found else stated or f"{stem}.jpg"


def read_voc(source: Path, reading: BoxReading) -> RawFolder:
    """The folder's images, boxes and splits; class numbers follow the names' order from 1.

    Raises:
        DataError: no XML files, or no image folder beside them.
    """
    voc = _find(source)
    stems = _stems_of_splits(voc)
    read: dict[str, list[tuple[RawImage, NamedBoxes]]] = {}
    used: set[str] = set()
    for split, names in stems.items():
        pairs = {stem: _read_image(voc, stem, reading) for stem in names}
        used.update(stem for stem, pair in pairs.items() if pair)
        read[split] = [pair for stem in names if (pair := pairs[stem])]
    listed = {stem for names in stems.values() for stem in names}
    files = {image.file_name for pairs in read.values() for image, _ in pairs}
    named = {name for pairs in read.values() for _, boxes in pairs for name, _ in boxes if name}
    numbers = {name: position for position, name in enumerate(sorted(named), start=1)}
    splits = {
        split: RawSplit(
            images=tuple(_numbered(image, boxes, numbers) for image, boxes in pairs),
            image_root=voc.image_root,
            unreadable=len(stems[split]) - len(pairs),
        )
        for split, pairs in read.items()
    }
    return RawFolder(
        class_names={position: name for name, position in numbers.items()},
        splits=splits,
        log=voc.log,
        left_out=_note_left_out(voc, listed, files),
        label_files=len(voc.labels),
        labels_left_out=len(voc.labels) - len(used),
    )


def _find(source: Path) -> _VocFolder:
    annotations = _folder(source, ANNOTATIONS) or source
    labels = {
        _key(path, annotations): path
        for path in files_below(annotations)
        if path.suffix.lower() == ".xml"
    }
    if not labels:
        raise DataError(f"{source} is not a VOC folder", hint="it needs Annotations/*.xml")
    image_root = _folder(source, IMAGES) or (source if annotations == source else annotations)
    images = {
        _key(path, image_root): path.relative_to(image_root).as_posix()
        for path in files_below(image_root)
        if is_image_name(path.name)
    }
    if not images:
        raise DataError(f"{source} is not a VOC folder", hint="it needs JPEGImages/")
    return _VocFolder(source=source, image_root=image_root, labels=labels, images=images)


def _folder(source: Path, names: Sequence[str]) -> Path | None:
    there = {path.name.lower(): path for path in sorted(source.iterdir()) if path.is_dir()}
    return next((there[name] for name in names if name in there), None)


def _of_name(there: Mapping[str, object], name: str) -> str:
    """This name where it is there, else the only one that ends like it, folders left out."""
    if name in there:
        return name
    last = name.rsplit("/", 1)[-1]
    alike = [other for other in there if other.rsplit("/", 1)[-1] == last]
    return alike[0] if len(alike) == 1 else ""


def _key(path: Path, home: Path) -> str:
    return path.relative_to(home).with_suffix("").as_posix()


# --- splits --------------------------------------------------------------------------------------


def _stems_of_splits(voc: _VocFolder) -> dict[str, list[str]]:
    """Split -> names, from lists, else from folders named like splits, else divided."""
    found = _listed(voc)
    if not found:
        by_folder = defaultdict(list)
        for stem in voc.labels:
            top = stem.split("/")[0].lower() if "/" in stem else ""
            by_folder[SPLIT_OF_WORD.get(top, "")].append(stem)
        if "" not in by_folder:
            found = dict(by_folder)
    if not found:
        lists = sorted(path.name for place in LISTS for path in (voc.source / place).glob("*.txt"))
        others = f"not splits by their names: {', '.join(lists[:MOST_NAMED])}" if lists else ""
        voc.log.add(faults.NO_SPLIT_LIST, voc.source.name, others)
        found = divided(list(voc.labels))
    return {split: found[split] for split in SPLITS if split in found}


def _listed(voc: _VocFolder) -> dict[str, list[str]]:
    """What lists say: those of one folder, `trainval` after all others."""
    found: dict[str, list[str]] = {}
    for place in LISTS:
        paths = {path.stem.lower(): path for path in sorted((voc.source / place).glob("*.txt"))}
        for word, split in SPLIT_OF_WORD.items():
            if word in paths:
                found.setdefault(split, []).extend(_names(paths[word], voc))
        if BOTH in paths:
            elsewhere = {stem for stems in found.values() for stem in stems}
            rest = [stem for stem in _names(paths[BOTH], voc) if stem not in elsewhere]
            if rest:
                found.setdefault("train", []).extend(rest)
        if found:
            return found
    return found


def _names(path: Path, voc: _VocFolder) -> list[str]:
    """The names of a list: with or without suffix and folder, `1` and `-1` behind them left out."""
    names = []
    for line in filter(None, map(str.strip, read_text(path).splitlines())):
        head, _, last = line.rpartition(" ")
        name = head.strip() if head.strip() and last in MARKS else line
        if is_image_name(Path(name).name) or name.lower().endswith(".xml"):
            name = name[: name.rindex(".")]
        names.append(_of_name(voc.labels, name) or name)
    return names


def _note_left_out(voc: _VocFolder, listed: Iterable[str], used: Iterable[str]) -> int:
    """Notes what no split has: images, and XML files without one; counts the images."""
    listed, used = set(listed), set(used)
    lost = {stem: name for stem, name in voc.images.items() if name not in used}
    left_out = 0
    for stem, name in lost.items():
        if stem not in listed:
            left_out += 1
            reason = faults.NOT_LISTED if stem in voc.labels else faults.UNLABELLED
            voc.log.add(reason, (voc.image_root / name).relative_to(voc.source).as_posix())
    for stem in voc.labels.keys() - listed - voc.images.keys():
        file = voc.labels[stem].relative_to(voc.source).as_posix()
        voc.log.add(faults.LABELS_ALONE, file)
    return left_out


# --- labels --------------------------------------------------------------------------------------


def _read_image(
    voc: _VocFolder, stem: str, reading: BoxReading
) -> tuple[RawImage, NamedBoxes] | None:
    """The image of one XML file and its boxes; None with a note where it cannot be read."""
    label = f"Annotations/{stem}.xml"
    try:
        if reason := escape_reason(stem):
            raise DataError(f"{stem!r:.80}: {reason}")
        if stem not in voc.labels:
            raise DataError("no such file")
        label = voc.labels[stem].relative_to(voc.source).as_posix()
        root = parse_xml(voc.labels[stem])
    except DataError as error:
        voc.log.add(faults.BAD_LABELS, label, str(error))
        return None
    stated = (root.findtext("filename") or "").strip()
    image = RawImage(
        file_name=voc.image_of(stem, stated),
        width=whole((root.findtext("size/width") or "").strip()),
        height=whole((root.findtext("size/height") or "").strip()),
    )
    return image, [_named_box(item, image, reading) for item in root.iter("object")]


def _named_box(
    item: ElementTree.Element, image: RawImage, reading: BoxReading
) -> tuple[str, Xywh | str]:
    name = (item.findtext("name") or "").strip()
    values = [number((item.findtext(f"bndbox/{corner}") or "").strip()) for corner in CORNERS]
    found = [value for value in values if value is not None]
    if len(found) < len(CORNERS):
        there = ", ".join(child.tag for child in item) or "nothing"
        inside = "bndbox without four numbers" if item.find("bndbox") is not None else "no bndbox"
        return name, f"{inside}, but {there}"
    return name, reading.xywh(found, image.width, image.height)


def _numbered(image: RawImage, boxes: NamedBoxes, numbers: Mapping[str, int]) -> RawImage:
    return RawImage(
        file_name=image.file_name,
        width=image.width,
        height=image.height,
        boxes=tuple(RawBox(category=numbers.get(name, name), xywh=xywh) for name, xywh in boxes),
    )


def parse_xml(path: Path) -> ElementTree.Element:
    """The root element of a small XML file without a document type, hence without entities.

    Raises:
        DataError: missing, too large, not XML, or with a DOCTYPE.
    """
    text = read_text(path)
    if re.search(r"<!\s*(DOCTYPE|ENTITY)", text, re.IGNORECASE):
        raise DataError(f"{path}: a document type is not allowed")
    try:
        # Encoded again, so that the declared encoding cannot differ from the one checked.
        return ElementTree.fromstring(re.sub(r"^\s*<\?xml.*?\?>", "", text, flags=re.DOTALL))
    except ElementTree.ParseError as error:
        raise DataError(f"{path}: not XML: {error}") from error
