"""VOC and YOLO folders -> a new COCO folder: checked like any other, clean images copied."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

from detkit.artifact.artifact import write_error
from detkit.core.errors import DataError, UsageError, did_you_mean
from detkit.core.work_folder import check_output_folder
from detkit.data.coco.coco_json import read_categories
from detkit.data.coco.layout import SplitFiles
from detkit.data.coco.split_reader import ImageRecord, SplitReader, SplitReading, folder_report
from detkit.data.coco.verify import Progress
from detkit.data.coco.write import LabelledImage, write_split
from detkit.data.converters.labels import RawFolder, document_of
from detkit.data.converters.voc import read_voc
from detkit.data.converters.yolo import read_yolo
from detkit.report import DataReport

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
    check_output_folder(out, force=force)
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
    for reading in readings:
        _write(out, reading, categories.names)
    return report


def _with_unreadable(reading: SplitReading, count: int) -> SplitReading:
    """Images whose labels could not be read count as dropped."""
    dropped = reading.report.dropped_images + count
    report = dataclasses.replace(reading.report, dropped_images=dropped)
    return dataclasses.replace(reading, report=report)


def _write(out: Path, reading: SplitReading, class_names: tuple[str, ...]) -> None:
    split = reading.report.split
    images = [_copied(out, f"{split}/{record.file_name}", record) for record in reading.records]
    write_split(out, split, images, class_names)


def _copied(out: Path, file_name: str, record: ImageRecord) -> LabelledImage:
    target = out / "images" / file_name
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(record.path, target)
    except OSError as error:
        raise write_error(target, error) from error
    return LabelledImage(
        file_name=file_name,
        width=record.width,
        height=record.height,
        boxes_xyxy=record.boxes_xyxy,
        classes=record.classes,
    )
