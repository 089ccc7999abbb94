"""VOC and YOLO folders -> a new COCO folder: checked like any other, clean images copied."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from detkit.artifact.outputs import begin_folder, check_output_folder, seal
from detkit.artifact.writing import copy_file
from detkit.core.errors import DataError, UsageError, did_you_mean
from detkit.data.coco.coco_json import read_categories
from detkit.data.coco.layout import SplitFiles
from detkit.data.coco.split_reader import ImageRecord, SplitReader, SplitReading, folder_report
from detkit.data.coco.verify import Progress
from detkit.data.coco.write import LabelledImage, annotations_name, write_split
from detkit.data.converters.labels import RawFolder, document_of
from detkit.data.converters.voc import read_voc
from detkit.data.converters.yolo import read_yolo
from detkit.report import DataReport

VERB = "data convert"
FORMATS: dict[str, Callable[[Path], RawFolder]] = {"voc": read_voc, "yolo": read_yolo}


def convert_folder(
    source: Path,
    out: Path,
    *,
    from_: str,
    force: bool = False,
    on_progress: Progress | None = None,
) -> DataReport:
    """Writes the usable images and boxes of `source` as a COCO folder, and reports the rest.

    Nothing is written when a fault makes the source unusable.

    Raises:
        UsageError: an unknown format, or `out` already holds something and is not forced.
        DataError: `source` is not of that format, or unusable.
    """
    if from_ not in FORMATS:
        raise UsageError(f"unknown format '{from_}'", hint=did_you_mean(from_, FORMATS))
    if not source.is_dir():
        raise DataError(f"no such folder: {source}")
    if out.resolve() == source.resolve():
        raise UsageError(f"{out} is the source itself")
    check_output_folder(out, VERB, force=force, read=(source,))
    folder = FORMATS[from_](source)
    documents = {
        name: document_of(f"{from_} {name}", split, folder.class_names)
        for name, split in folder.splits.items()
    }
    categories = read_categories(list(documents.values()), folder.log)
    reader = SplitReader(root=source, categories=categories, pixels=True, on_progress=on_progress)
    readings = []
    for name, split in folder.splits.items():
        files = SplitFiles(json_path=source / f"{from_}-{name}", image_roots=(split.image_root,))
        reading = reader.read(name, files, documents[name])
        readings.append(_with_unreadable(reading, split.unreadable))
    report = folder_report(out, from_, categories, readings, folder.log)
    for fault in report.faults:
        if fault.action == "rejected":
            raise DataError(f"{source}: {fault.file}: {fault.reason}: {fault.detail}")
    labels = [annotations_name(reading.report.split) for reading in readings]
    begin_folder(out, VERB, [*(f"images/{name}" for r in readings for name in _names(r)), *labels])
    for reading in readings:
        _write(out, reading, categories.names)
    seal(out, VERB, *labels)
    return report


def _names(reading: SplitReading) -> list[str]:
    """What the images of a split are called below `images/`."""
    return [f"{reading.report.split}/{record.file_name}" for record in reading.records]


def _with_unreadable(reading: SplitReading, count: int) -> SplitReading:
    """Images whose labels could not be read count as dropped."""
    dropped = reading.report.dropped_images + count
    report = dataclasses.replace(reading.report, dropped_images=dropped)
    return dataclasses.replace(reading, report=report)


def _write(out: Path, reading: SplitReading, class_names: tuple[str, ...]) -> None:
    split = reading.report.split
    pairs = zip(_names(reading), reading.records, strict=True)
    images = [_copied(out, name, record) for name, record in pairs]
    write_split(out, split, images, class_names)


def _copied(out: Path, file_name: str, record: ImageRecord) -> LabelledImage:
    copy_file(record.path, out / "images" / file_name)
    return LabelledImage(
        file_name=file_name,
        width=record.width,
        height=record.height,
        boxes_xyxy=record.boxes_xyxy,
        classes=record.classes,
    )
