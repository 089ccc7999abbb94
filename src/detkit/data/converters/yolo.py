"""YOLO folders: images/, labels/ with a text file an image, names in data.yaml or classes.txt.

A row is `class x y w h`, centre and size as shares of the image; `class x1 y1 x2 y2 ...`, a
polygon, whose envelope is taken; or, where data.yaml has `kpt_shape`, a box and its key points, of
which the box is taken. An image without a label file has no boxes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from detkit.core.errors import DataError
from detkit.data.coco import faults
from detkit.data.coco.faults import FaultLog
from detkit.data.coco.json_values import identity, number
from detkit.data.converters.labels import (
    BoxReading,
    RawBox,
    RawFolder,
    RawImage,
    RawSplit,
    Xywh,
    files_below,
    read_text,
)
from detkit.data.converters.yolo_files import files_of_splits, find_labels, settings_of
from detkit.data.converters.yolo_yaml import YoloYaml
from detkit.data.image import is_image_name, open_image

LEAST_POSE = {3: 7, 2: 10}  # numbers of a row that is taken for key points of three, of two, each
VISIBLE = (0.0, 1.0, 2.0)  # what the third number of a key point may be

Row = list[str]


@dataclass(frozen=True, kw_only=True)
class _Reader:
    """What reading any row of a folder needs."""

    source: Path
    settings: YoloYaml
    boxes: BoxReading
    label_of: Mapping[Path, Path]  # image -> label file, where there is one
    log: FaultLog


def read_yolo(source: Path, reading: BoxReading) -> RawFolder:
    """The folder's images, boxes and splits; classes keep their numbers.

    Raises:
        DataError: no class names, no images, no label file, a path that leads out of the folder, or
            rows that look like key points although nothing says so.
    """
    settings, log = settings_of(source), FaultLog()
    files = {split: part for split, part in files_of_splits(source, settings, log).items() if part}
    if not files:
        raise DataError(f"{source} is not a YOLO folder", hint="it needs images/ and labels/")
    below = list(files_below(source))
    listed = list(dict.fromkeys(file for part in files.values() for file in part))
    unlisted = [path for path in below if is_image_name(path.name) and path not in set(listed)]
    label_of = find_labels(source, [*listed, *unlisted])
    _check_labels(source, listed, label_of)
    reader = _Reader(source=source, settings=settings, boxes=reading, label_of=label_of, log=log)
    rows_of = _read_rows(reader, listed)
    _check_pose([row for rows in rows_of.values() for row in rows], settings)
    left_out = [path for path in unlisted if path in label_of]
    alone = _labels_alone(below, set(label_of.values()))
    for reason, paths in ((faults.NOT_LISTED, left_out), (faults.LABELS_ALONE, alone)):
        for path in paths:
            log.add(reason, path.relative_to(source).as_posix())
    found = {*label_of.values(), *alone}
    return RawFolder(
        class_names=settings.names,
        splits={split: _read_split(reader, part, rows_of) for split, part in files.items()},
        log=log,
        left_out=len(left_out),
        label_files=len(found),
        labels_left_out=len(found - {label_of[file] for file in rows_of if file in label_of}),
    )


def _check_labels(source: Path, images: Sequence[Path], label_of: Mapping[Path, Path]) -> None:
    if not any(file in label_of for file in images):
        raise DataError(
            f"{source}: no label file for any of {len(images)} images",
            hint="labels/NAME.txt for images/NAME.jpg, or NAME.txt beside it",
        )


def _labels_alone(below: Sequence[Path], used: set[Path]) -> list[Path]:
    """The text files that hold rows of labels, or nothing in a folder of labels, of no image."""
    return [
        path
        for path in below
        if path.suffix.lower() == ".txt" and path not in used and _looks_like_labels(path)
    ]


def _looks_like_labels(path: Path) -> bool:
    try:
        first = next((line.split() for line in read_text(path).splitlines() if line.strip()), None)
    except DataError:
        return False
    if first is None:
        return path.parent.name.lower() == "labels" or path.parent.parent.name.lower() == "labels"
    return len(first) >= 5 and all(number(word) is not None for word in first)


# --- rows ----------------------------------------------------------------------------------------


def _read_rows(reader: _Reader, files: Sequence[Path]) -> dict[Path, list[Row]]:
    """The rows of each image's label file; without the images whose file cannot be read."""
    found: dict[Path, list[Row]] = {}
    for file in files:
        if file not in reader.label_of:
            reader.log.add(faults.NO_LABEL_FILE, file.relative_to(reader.source).as_posix())
            found[file] = []
            continue
        labels = reader.label_of[file]
        try:
            text = read_text(labels)
        except DataError as error:
            label = labels.relative_to(reader.source).as_posix()
            reader.log.add(faults.BAD_LABELS, label, str(error))
            continue
        found[file] = [line.split() for line in text.splitlines() if line.strip()]
    return found


def _check_pose(rows: Sequence[Row], settings: YoloYaml) -> None:
    """Raises DataError where all rows look like boxes and key points, and nothing says so."""
    ((length, count),) = Counter(len(row) - 1 for row in rows).most_common(1) or [(0, 0)]
    if settings.point_numbers or count < len(rows):
        return
    values = [[number(word) for word in row[1:]] for row in rows]
    numbers = [[value for value in row if value is not None] for row in values]
    for size, least in LEAST_POSE.items():
        points = (length - 4) // size
        if length < least or (length - 4) % size:
            continue
        if all(_is_pose(row, length, size) for row in numbers):
            raise DataError(
                f"the rows of all labels look like boxes and {points} key points (pose labels), "
                "which would be read as polygons",
                hint=f"add this line to data.yaml: kpt_shape: [{points}, {size}]",
            )


def _is_pose(row: Sequence[float], length: int, size: int) -> bool:
    """Whether the points after the first four numbers lie in the box that these would be.

    So do many polygons; but width and height, taken for a point, are hardly among the others.
    """
    if len(row) != length:
        return False
    x, y, wide, tall = row[:4]
    points = [row[at : at + size] for at in range(4, length, size)]
    placed = [point for point in points if point[0] or point[1]]
    inside = all(abs(p[0] - x) <= 0.6 * wide and abs(p[1] - y) <= 0.6 * tall for p in placed)
    if size == 3:
        return inside and all(point[2] in VISIBLE for point in points)
    xs, ys = zip(*placed, strict=True) if placed else ((x,), (y,))
    reach_x, reach_y = max(xs) - min(xs), max(ys) - min(ys)
    among = min(xs) - reach_x <= wide <= max(xs) + reach_x
    return inside and not (among and min(ys) - reach_y <= tall <= max(ys) + reach_y)


def _read_split(
    reader: _Reader, files: Sequence[Path], rows_of: Mapping[Path, list[Row]]
) -> RawSplit:
    root = _common_folder(reader.source, files)
    readable = [file for file in files if file in rows_of]
    polygons = sum(_is_polygon(row, reader) for file in readable for row in rows_of[file])
    if polygons:
        label = root.relative_to(reader.source).as_posix()
        reader.log.add(faults.POLYGON, label, count=polygons)
    return RawSplit(
        images=tuple(_read_image(reader, file, root, rows_of[file]) for file in readable),
        image_root=root,
        unreadable=len(files) - len(readable),
    )


def _common_folder(source: Path, files: Sequence[Path]) -> Path:
    """The deepest folder that holds all the files."""
    folder = files[0].parent
    while folder != source and not all(file.is_relative_to(folder) for file in files):
        folder = folder.parent
    return folder


def _read_image(reader: _Reader, file: Path, root: Path, rows: Sequence[Row]) -> RawImage:
    """The image and its boxes; those of one that cannot be opened are only counted."""
    try:
        with open_image(file) as (_, facts):
            width, height = facts.upright_size
    except DataError:  # noted when the image is decoded
        width = height = 0
    boxes = tuple(
        RawBox(category=identity(row[0]), xywh=_xywh(reader, row, width or 1, height or 1))
        for row in rows
    )
    return RawImage(
        file_name=file.relative_to(root).as_posix(), width=width, height=height, boxes=boxes
    )


def _is_polygon(row: Row, reader: _Reader) -> bool:
    count = len(row) - 1
    return count >= 6 and count % 2 == 0 and count != 4 + reader.settings.point_numbers


def _xywh(reader: _Reader, row: Row, width: int, height: int) -> Xywh | str:
    """The box in pixels, or what is wrong with the row."""
    values = [number(word) for word in row[1:]]
    numbers = [value for value in values if value is not None]
    if len(numbers) < len(values):
        return f"{' '.join(row):.40}: not numbers alone"
    if len(numbers) in (4, 4 + reader.settings.point_numbers):
        return reader.boxes.xywh(numbers[:4], width, height)
    if not _is_polygon(row, reader):
        score = " (a box and a score?)" if len(numbers) == 5 else ""
        return f"{len(numbers)} numbers, neither a box nor a polygon{score}"
    corners = min(numbers[::2]), min(numbers[1::2]), max(numbers[::2]), max(numbers[1::2])
    return replace(reader.boxes, form="xyxy").xywh(corners, width, height)
