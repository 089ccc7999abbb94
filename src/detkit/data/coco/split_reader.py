"""One split of a COCO folder: its annotation file and its images brought together."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from detkit.artifact.cache import FileStamp
from detkit.core.boxes import Array
from detkit.data.coco import faults
from detkit.data.coco.annotations import BoxTable, read_boxes
from detkit.data.coco.categories import Categories
from detkit.data.coco.coco_json import Document, ImageEntry, read_images
from detkit.data.coco.faults import FaultLog
from detkit.data.coco.layout import SplitFiles, choose_root, existing_form
from detkit.data.coco.suspicion import suspect_boxes, suspect_classes, suspect_images
from detkit.data.coco.verify import Progress, Verdict, verify_images
from detkit.data.image import FOREIGN_SUFFIXES
from detkit.report import DataReport, SplitReport, Suspicion


@dataclass(frozen=True, kw_only=True)
class ImageRecord:
    """One image and its annotations.

    `width` and `height` are those of the image as annotated: pass them to `read_image` as the
    size hint. boxes_xyxy (N, 4) float32 within the image, classes (N,) from 0, crowd (N,), area
    (N,) square pixels as annotated, scores (N,) float32, 1 for boxes that people drew. `known` (C,)
    are the classes whose every object is labelled; None stands for all of them. `sha256` is that of
    the file, empty where only its header was read.
    """

    image_id: int
    path: Path
    file_name: str
    width: int
    height: int
    boxes_xyxy: Array
    classes: npt.NDArray[np.int64]
    crowd: npt.NDArray[np.bool_]
    area: npt.NDArray[np.float64]
    scores: Array
    known: npt.NDArray[np.bool_] | None = None
    sha256: str = ""


@dataclass(frozen=True, kw_only=True)
class SplitReading:
    """The records of one split and what was found while reading them.

    `digests` maps the SHA-256 of each decoded image to its label; `content` are the lines that
    identify the data set: the annotation file's digest, the names and sizes of the images.
    """

    records: tuple[ImageRecord, ...]
    report: SplitReport
    log: FaultLog
    digests: dict[str, str]
    content: tuple[str, ...]
    suspicions: tuple[Suspicion, ...]


@dataclass(frozen=True, kw_only=True)
class SplitReader:
    """What reading any split of one folder needs.

    `convert` is the command that reads the folder otherwise, as suspicions name it.
    """

    root: Path
    convert: str
    categories: Categories
    pixels: bool
    on_progress: Progress | None

    def read(self, name: str, files: SplitFiles, document: Document) -> SplitReading:
        log = FaultLog()
        entries = read_images(document, log)
        names = [entry.file_name for entry in entries]
        located = list(self._locate(entries, choose_root(files, names), log))
        verdicts = verify_images(
            [stamp for _, stamp in located],
            key=str(files.json_path.resolve()),
            pixels=self.pixels,
            on_progress=self.on_progress,
        )
        usable = list(_usable(located, verdicts, log))
        entry_of = {entry.key: entry for entry, _, _ in usable}
        classes = self.categories.classes_of(document)
        tables, written = read_boxes(document, entry_of, classes, log)
        _note_unknown(usable, classes, log)
        records = tuple(
            _record(entry, path, sha256, tables[entry.key], classes, len(self.categories.names))
            for entry, path, sha256 in usable
        )
        sizes = [f"{entry.file_name} {stamp.size}" for entry, stamp in located]
        wrong_sizes = log.counts[faults.SIZE_MISMATCH]  # they say nothing of the boxes
        return SplitReading(
            records=records,
            report=_report(name, records, len(entries), self.categories, log),
            log=log,
            digests={
                verdict.sha256: entry.label
                for (entry, _), verdict in zip(located, verdicts, strict=True)
                if verdict.sha256
            },
            content=(name, document.sha256, *sorted(sizes)),
            suspicions=(
                *([] if wrong_sizes else suspect_boxes(name, written, self.convert)),
                *suspect_images(name, *_image_counts(records, log)),
            ),
        )

    def _locate(
        self, entries: Sequence[ImageEntry], image_root: Path, log: FaultLog
    ) -> Iterator[tuple[ImageEntry, FileStamp]]:
        """The entries whose file is there, under the folder, with its path as their label."""
        homes = (image_root.resolve(), self.root.resolve())
        for entry in entries:
            path = existing_form(image_root / entry.file_name)
            label = label_of(self.root, path)
            if not path.is_file():
                log.add(faults.FILE_MISSING, label)
                continue
            stamp = FileStamp.of(path)
            if not any(stamp.real.is_relative_to(home) for home in homes):
                log.add(faults.PATH_ESCAPE, label, faults.LINKED_OUT)
                continue
            yield dataclasses.replace(entry, label=label), stamp


def _image_counts(records: Sequence[ImageRecord], log: FaultLog) -> tuple[int, int, int]:
    """Images, those that never had a box, and those of small values in 16-bit files."""
    empty = sum(not len(record.classes) for record in records)
    lost = sum(log.counts[reason] for reason in faults.DROPPED_BOXES)
    return len(records), 0 if lost else empty, log.counts[faults.SMALL_DEPTH]


def label_of(root: Path, path: Path) -> str:
    """The path within the folder, for messages."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def _usable(
    located: Sequence[tuple[ImageEntry, FileStamp]], verdicts: Sequence[Verdict], log: FaultLog
) -> Iterator[tuple[ImageEntry, Path, str]]:
    """The entries whose image can be decoded, their size filled where the JSON has none.

    With the path of each and, where all of it was read, its SHA-256.
    """
    for (entry, stamp), verdict in zip(located, verdicts, strict=True):
        facts = verdict.facts
        if facts is None:
            log.add(faults.UNDECODABLE, entry.label, verdict.error)
            continue
        if facts.frames > 1:
            log.add(faults.ANIMATED, entry.label, f"{facts.frames} frames")
        if verdict.remark:
            log.add(faults.SMALL_DEPTH, entry.label, verdict.remark)
        if entry.file_name.lower().endswith(FOREIGN_SUFFIXES):
            log.add(faults.FOREIGN_NAME, entry.label)
        if not entry.width:
            width, height = facts.upright_size
            entry = dataclasses.replace(entry, width=width, height=height)
            log.add(faults.SIZE_FILLED, entry.label, f"{width}x{height}")
        if facts.turns_for((entry.width, entry.height)) is None:
            detail = f"annotated {entry.width}x{entry.height}, is {facts.width}x{facts.height}"
            log.add(faults.SIZE_MISMATCH, entry.label, detail)
        elif facts.turn_is_ambiguous:
            log.add(faults.AMBIGUOUS_TURN, entry.label, f"orientation {facts.orientation}")
        yield entry, stamp.path, verdict.sha256


def _record(
    entry: ImageEntry,
    path: Path,
    sha256: str,
    table: BoxTable,
    classes: Mapping[int | str, int],
    num_classes: int,
) -> ImageRecord:
    return ImageRecord(
        image_id=entry.image_id,
        path=path,
        file_name=entry.file_name,
        width=entry.width,
        height=entry.height,
        boxes_xyxy=table.boxes_xyxy,
        classes=table.classes,
        crowd=table.crowd,
        area=table.area,
        scores=table.scores,
        known=_known_classes(entry, table, classes, num_classes),
        sha256=sha256,
    )


def _note_unknown(
    usable: Sequence[tuple[ImageEntry, Path, str]], classes: Mapping[int | str, int], log: FaultLog
) -> None:
    """Notes the images that speak of categories which the file does not have."""
    for entry, _, _ in usable:
        spoken_of = {*(entry.absent or ()), *entry.incomplete}
        if unknown := sorted(spoken_of.difference(classes)):
            log.add(faults.ABSENT_UNKNOWN, entry.label, f"{unknown[0]}", count=len(unknown))


def _known_classes(
    entry: ImageEntry, table: BoxTable, classes: Mapping[int | str, int], num_classes: int
) -> npt.NDArray[np.bool_] | None:
    """The classes (C,) that are labelled completely, where the image says that not all are."""
    if entry.absent is None:
        return None
    known = np.zeros(num_classes, np.bool_)
    known[[classes[number] for number in entry.absent if number in classes]] = True
    known[table.classes] = True
    known[[classes[number] for number in entry.incomplete if number in classes]] = False
    return known


def _report(
    name: str,
    records: Sequence[ImageRecord],
    listed: int,
    categories: Categories,
    log: FaultLog,
) -> SplitReport:
    per_class = Counter(int(c) for record in records for c in record.classes)
    counts = log.counts
    return SplitReport(
        split=name,
        images=len(records),
        images_without_boxes=sum(not len(record.classes) for record in records),
        boxes=per_class.total(),
        crowd_boxes=sum(int(record.crowd.sum()) for record in records),
        boxes_per_class={text: per_class[c] for c, text in enumerate(categories.names)},
        dropped_images=listed - len(records),
        dropped_boxes=sum(counts[reason] for reason in faults.DROPPED_BOXES),
        fixed_boxes=counts[faults.BOX_CLIPPED],
    )


# --- the folder ----------------------------------------------------------------------------------


def folder_report(
    root: Path,
    layout: str,
    categories: Categories,
    readings: Sequence[SplitReading],
    log: FaultLog,
) -> DataReport:
    """What was found in all splits, after what `log` already holds."""
    for reading in readings:
        log.extend(reading.log)
    _note_leaks(readings, log)
    reports = {reading.report.split: reading.report.boxes_per_class for reading in readings}
    suspicions = [suspicion for reading in readings for suspicion in reading.suspicions]
    for split, boxes_per_class in reports.items():
        suspicions += suspect_classes(split, boxes_per_class, reports.get("train", boxes_per_class))
    return DataReport(
        root=str(root),
        layout=layout,
        class_names=categories.names,
        splits=tuple(reading.report for reading in readings),
        counts=dict(log.counts),
        faults=log.faults,
        suspicions=tuple(suspicions),
        clean=not log.has("dropped", "rejected"),
        digest=_digest(readings),
    )


def totals(report: DataReport) -> dict[str, tuple[int, int]]:
    """Images, label files and boxes -> how many are used, and how many are left out."""
    splits, source = report.splits, report.source
    lost_images = sum(split.dropped_images for split in splits)
    found = {
        "images": (
            sum(split.images for split in splits),
            lost_images + (source.images_in_no_split if source else 0),
        ),
        "boxes": (
            sum(split.boxes for split in splits),
            sum(split.dropped_boxes for split in splits),
        ),
    }
    if source:
        unused = source.label_files_left_out
        found["label files"] = (source.label_files - unused, unused)
    return found


def _note_leaks(readings: Sequence[SplitReading], log: FaultLog) -> None:
    """Images equal byte for byte in two splits: what is measured on them is memory."""
    first_seen: dict[str, str] = {}
    for reading in readings:
        for sha256, label in reading.digests.items():
            if sha256 in first_seen:
                log.add(faults.LEAK, label, f"as {first_seen[sha256]}")
        first_seen = {**reading.digests, **first_seen}


def _digest(readings: Sequence[SplitReading]) -> str:
    """16 hex digits over annotation files and the names and sizes of the images."""
    lines = [line for reading in readings for line in reading.content]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
