"""VOC, YOLO and COCO folders -> a new COCO folder: checked like any other, clean images copied."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from detkit.artifact.outputs import begin_folder, check_output_folder, seal
from detkit.artifact.writing import copy_file
from detkit.core.errors import DataError, UsageError, did_you_mean
from detkit.data.coco import faults
from detkit.data.coco.categories import read_categories
from detkit.data.coco.coco_json import Document
from detkit.data.coco.commands import Files, convert_command, remedy
from detkit.data.coco.faults import FaultLog
from detkit.data.coco.layout import SplitFiles
from detkit.data.coco.split_reader import (
    ImageRecord,
    SplitReader,
    SplitReading,
    folder_report,
    totals,
)
from detkit.data.coco.verify import Progress
from detkit.data.coco.write import LabelledImage, annotations_name, write_split
from detkit.data.converters.coco import PLAIN, read_coco
from detkit.data.converters.labels import BoxReading, RawFolder, document_of
from detkit.data.converters.voc import read_voc
from detkit.data.converters.yolo import read_yolo
from detkit.report import DataReport, SourceCounts

VERB = "data convert"
READERS: dict[str, Callable[[Path, BoxReading], RawFolder]] = {"voc": read_voc, "yolo": read_yolo}
READINGS = {
    "voc": BoxReading(form="xyxy", unit="pixels"),
    "yolo": BoxReading(form="cxcywh", unit="shares"),
    "coco": PLAIN,
}
MAX_DROPPED = 0.01  # share of images, label files or boxes that may be left out unasked


@dataclass(frozen=True, kw_only=True)
class ConvertOptions:
    """How a folder is read.

    `from_` is voc, yolo or coco; `form` and `unit` are what the numbers of its boxes are, those of
    the format where empty; without `crowd`, crowd regions become objects. `files` are named in
    place of a COCO folder's layout.
    """

    from_: str
    form: str = ""
    unit: str = ""
    crowd: bool = True
    files: Files | None = None

    @property
    def reading(self) -> BoxReading:
        usual = READINGS[self.from_]
        return BoxReading(form=self.form or usual.form, unit=self.unit or usual.unit)


@dataclass(frozen=True, kw_only=True)
class Source:
    """A folder as read, not yet written: its splits, its classes and the report."""

    readings: tuple[SplitReading, ...]
    class_names: tuple[str, ...]
    report: DataReport


@dataclass(frozen=True, kw_only=True)
class _Documents:
    """The splits of a source as documents, where their files lie, and what has been found so far.

    `unreadable` counts the images of a split whose labels could not be read.
    """

    documents: Mapping[str, Document]
    files: Mapping[str, SplitFiles]
    log: FaultLog
    unreadable: Mapping[str, int] = field(default_factory=dict)
    counts: SourceCounts | None = None


def convert_folder(
    source: Path,
    out: Path,
    options: ConvertOptions,
    *,
    force: bool = False,
    max_dropped: float = MAX_DROPPED,
    on_progress: Progress | None = None,
) -> DataReport:
    """Writes the usable images and boxes of `source` as a COCO folder, and reports the rest.

    Nothing is written when a fault makes the source unusable, or too much of it is left out.

    Raises:
        UsageError: an unknown format, or `out` already holds something and is not forced.
        DataError: as `read_source` and `require_convertible`.
    """
    check_target(source, out, force=force)
    read = read_source(source, out, options, on_progress=on_progress)
    require_convertible(source, read.report, max_dropped=max_dropped)
    write_source(out, read)
    return read.report


def check_target(source: Path, out: Path, *, force: bool) -> None:
    """Raises UsageError where `out` is the source, or holds what may not be overwritten."""
    if out.resolve() == source.resolve():
        raise UsageError(f"{out} is the source itself")
    check_output_folder(out, VERB, force=force, read=(source,))


def read_source(
    source: Path, out: Path, options: ConvertOptions, *, on_progress: Progress | None = None
) -> Source:
    """Reads and checks a folder that is to become `out`.

    Raises:
        UsageError: an unknown format.
        DataError: `source` is not of that format, or has a fault that makes it unusable.
    """
    if options.from_ not in READINGS:
        raise UsageError(
            f"unknown format '{options.from_}'", hint=did_you_mean(options.from_, READINGS)
        )
    if not source.exists():
        raise DataError(f"no such folder: {source}")
    found = _from_coco(source, options) if options.from_ == "coco" else _from_raw(source, options)
    categories = read_categories(list(found.documents.values()), found.log)
    reader = SplitReader(
        root=source,
        convert=convert_command(source, options.files, from_=options.from_),
        categories=categories,
        pixels=True,
        on_progress=on_progress,
    )
    readings = tuple(
        _with_unreadable(reader.read(name, found.files[name], document), found.unreadable.get(name))
        for name, document in found.documents.items()
    )
    report = folder_report(out, options.from_, categories, readings, found.log)
    for fault in report.faults:
        if fault.action == "rejected":
            raise DataError(
                f"{source}: {fault.file}: {fault.reason}: {fault.detail}",
                hint=remedy(fault, source),
            )
    return Source(
        readings=readings,
        class_names=categories.names,
        report=dataclasses.replace(report, source=found.counts),
    )


def require_convertible(source: Path, report: DataReport, *, max_dropped: float) -> None:
    """Raises DataError where nothing is left to convert, or more is left out than that share."""
    why = faults.top_dropped(report.counts)
    for thing, (used, lost) in totals(report).items():
        if not used:
            of_them = f"none of {lost} {thing} can be used: {why}" if lost else f"it has no {thing}"
            raise DataError(f"{source}: nothing to convert: {of_them}")
    for thing, (used, lost) in totals(report).items():
        share = lost / (used + lost)
        if share > max_dropped:
            listed = faults.NOT_LISTED in report.counts
            cure = "name their split in the lists or data.yaml; " if listed else ""
            raise DataError(
                f"{source}: {lost} of {used + lost} {thing} would be left out: {why}",
                hint=f"{cure}--max-dropped {math.ceil(100 * share) / 100:g} converts the rest",
            )


# --- reading -------------------------------------------------------------------------------------


def _from_coco(source: Path, options: ConvertOptions) -> _Documents:
    documents, files, log = read_coco(
        source, options.reading, crowd=options.crowd, files=options.files
    )
    return _Documents(documents=documents, files=files, log=log)


def _from_raw(source: Path, options: ConvertOptions) -> _Documents:
    folder = READERS[options.from_](source, options.reading)
    return _Documents(
        documents={
            name: document_of(f"{options.from_} {name}", split, folder.class_names, options.reading)
            for name, split in folder.splits.items()
        },
        files={
            name: SplitFiles(
                json_path=source / f"{options.from_}-{name}", image_roots=(split.image_root,)
            )
            for name, split in folder.splits.items()
        },
        log=folder.log,
        unreadable={name: split.unreadable for name, split in folder.splits.items()},
        counts=SourceCounts(
            images_in_no_split=folder.left_out,
            label_files=folder.label_files,
            label_files_left_out=folder.labels_left_out,
        ),
    )


def _with_unreadable(reading: SplitReading, count: int | None) -> SplitReading:
    """Images whose labels could not be read count as dropped."""
    dropped = reading.report.dropped_images + (count or 0)
    report = dataclasses.replace(reading.report, dropped_images=dropped)
    return dataclasses.replace(reading, report=report)


# --- writing -------------------------------------------------------------------------------------


def write_source(out: Path, source: Source) -> None:
    """Copies the images and writes the annotation files of every split.

    Raises:
        DetkitError: the folder cannot be written to.
    """
    as_annotated = source.report.layout == "coco"
    labels = [annotations_name(reading.report.split) for reading in source.readings]
    names = (f"images/{name}" for reading in source.readings for name in _names(reading))
    begin_folder(out, VERB, [*names, *labels])
    for reading in source.readings:
        pairs = zip(_names(reading), reading.records, strict=True)
        images = [_copied(out, name, record, as_annotated=as_annotated) for name, record in pairs]
        write_split(out, reading.report.split, images, source.class_names)
    seal(out, VERB, *labels)


def _names(reading: SplitReading) -> list[str]:
    """What the images of a split are called below `images/`."""
    return [f"{reading.report.split}/{record.file_name}" for record in reading.records]


def _copied(out: Path, file_name: str, record: ImageRecord, *, as_annotated: bool) -> LabelledImage:
    """The record of a copy; areas, crowds and scores stay where the source states them."""
    copy_file(record.path, out / "images" / file_name)
    return LabelledImage(
        file_name=file_name,
        width=record.width,
        height=record.height,
        boxes_xyxy=record.boxes_xyxy,
        classes=record.classes,
        scores=np.where(record.scores < 1, record.scores, np.nan),
        crowd=record.crowd,
        area=record.area if as_annotated else None,
        known=record.known,
    )
