"""Pascal VOC folders: Annotations/*.xml, JPEGImages/, ImageSets/Main/{train,val,test}.txt.

Corners are taken as they stand, `xmax - xmin` wide: labelling tools write them from 0 and
exclusive, other than the first VOC data did (from 1, inclusive). `difficult` objects are ordinary
boxes.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from pathlib import Path

from detkit.core.errors import DataError
from detkit.data.coco import faults
from detkit.data.coco.coco_json import escape_reason
from detkit.data.coco.faults import FaultLog
from detkit.data.coco.layout import SPLITS
from detkit.data.converters.labels import (
    RawBox,
    RawFolder,
    RawImage,
    RawSplit,
    divided,
    read_text,
)
from detkit.data.image import is_image_name

CORNERS = ("xmin", "ymin", "xmax", "ymax")

NamedBoxes = list[tuple[str, tuple[float, ...] | None]]  # class name, xywh


def read_voc(source: Path) -> RawFolder:
    """The folder's images, boxes and splits; class numbers follow the names' order from 1.

    Raises:
        DataError: no Annotations folder, or no image folder beside it.
    """
    annotations = source / "Annotations"
    if not annotations.is_dir():
        raise DataError(f"{source} is not a VOC folder", hint="it needs Annotations/*.xml")
    image_root = next((f for n in ("JPEGImages", "images") if (f := source / n).is_dir()), None)
    if image_root is None:
        raise DataError(f"{source} is not a VOC folder", hint="it needs JPEGImages/")
    log = FaultLog()
    files = {path.stem: path.name for path in image_root.iterdir() if is_image_name(path.name)}
    stems = _stems_of_splits(source, annotations, log)
    read: dict[str, list[tuple[RawImage, NamedBoxes]]] = {}
    for split, names in stems.items():
        pairs = (_read_image(annotations, stem, files, log) for stem in names)
        read[split] = [pair for pair in pairs if pair is not None]
    classes = sorted({name for pairs in read.values() for _, boxes in pairs for name, _ in boxes})
    numbers = {name: number for number, name in enumerate(classes, start=1)}
    splits = {
        split: RawSplit(
            images=tuple(_numbered(image, boxes, numbers) for image, boxes in pairs),
            image_root=image_root,
            unreadable=len(stems[split]) - len(pairs),
        )
        for split, pairs in read.items()
    }
    class_names = {number: name for name, number in numbers.items()}
    return RawFolder(class_names=class_names, splits=splits, log=log)


def _stems_of_splits(source: Path, annotations: Path, log: FaultLog) -> dict[str, Sequence[str]]:
    main = source / "ImageSets" / "Main"
    lists = {split: main / f"{split}.txt" for split in SPLITS}
    found: dict[str, Sequence[str]] = {
        split: [line.split()[0] for line in read_text(path).splitlines() if line.strip()]
        for split, path in lists.items()
        if path.is_file()
    }
    if not found:
        log.add(faults.NO_SPLIT_LIST, source.name)
        found.update(divided([path.stem for path in annotations.glob("*.xml")]))
    return found


def _read_image(
    annotations: Path, stem: str, files: Mapping[str, str], log: FaultLog
) -> tuple[RawImage, NamedBoxes] | None:
    """The image of one XML file and its boxes; None with a note where it cannot be read."""
    try:
        if reason := escape_reason(stem):
            raise DataError(f"{stem!r:.80}: {reason}")
        root = parse_xml(annotations / f"{stem}.xml")
    except DataError as error:
        log.add(faults.BAD_LABELS, f"Annotations/{stem}.xml", str(error))
        return None
    stated = (root.findtext("filename") or "").strip()
    image = RawImage(
        file_name=files.get(stem) or files.get(Path(stated).stem) or stated or f"{stem}.jpg",
        width=_whole(root.findtext("size/width")),
        height=_whole(root.findtext("size/height")),
    )
    return image, [_named_box(item) for item in root.iter("object")]


def _named_box(item: ElementTree.Element) -> tuple[str, tuple[float, ...] | None]:
    name = (item.findtext("name") or "").strip()
    try:
        left, top, right, bottom = (float(item.findtext(f"bndbox/{c}") or "") for c in CORNERS)
    except ValueError:
        return name, None
    return name, (left, top, right - left, bottom - top)


def _numbered(image: RawImage, boxes: NamedBoxes, numbers: Mapping[str, int]) -> RawImage:
    return RawImage(
        file_name=image.file_name,
        width=image.width,
        height=image.height,
        boxes=tuple(RawBox(category=numbers[name], xywh=xywh) for name, xywh in boxes),
    )


def _whole(text: str | None) -> int:
    return int(text) if text and text.strip().isdecimal() else 0


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
