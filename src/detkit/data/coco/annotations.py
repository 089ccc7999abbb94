"""The boxes of a COCO document: checked, clipped, grouped by image, every fault noted."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from detkit.core.boxes import Array
from detkit.data.coco import faults
from detkit.data.coco.coco_json import Document, ImageEntry, missing_key
from detkit.data.coco.faults import FaultLog
from detkit.data.coco.json_values import Json, identity, mark, number, numbers
from detkit.data.coco.suspicion import WrittenBoxes

OVERHANG = 0.01  # pixels; less than this outside the image is rounding, not a fault


@dataclass(frozen=True, kw_only=True)
class BoxTable:
    """The boxes of one image: xyxy (N, 4) within it, classes from 0, crowd marks, areas, scores.

    A score is 1 where the annotation has none, as those that people drew.
    """

    boxes_xyxy: Array
    classes: npt.NDArray[np.int64]
    crowd: npt.NDArray[np.bool_]
    area: npt.NDArray[np.float64]
    scores: Array


@dataclass(frozen=True, kw_only=True)
class _Row:
    image: ImageEntry
    number: object  # the annotation's id, for messages only
    category: int  # contiguous
    xywh: tuple[float, ...]
    crowd: bool
    area: float  # 0 where the JSON has none
    score: float
    lacks: tuple[str, ...]  # reasons why something was filled in


def read_boxes(
    document: Document,
    entries: Mapping[int | str, ImageEntry],
    classes: Mapping[int | str, int],
    log: FaultLog,
) -> tuple[dict[int | str, BoxTable], WrittenBoxes]:
    """The clean boxes of each image of `entries`, by the image's key, and all as they are written.

    Images without an entry were unknown or dropped; so are their boxes. `classes` are those of the
    file's category ids.
    """
    rows = _readable_rows(document, entries, classes, log)
    xyxy, reasons = _clipped(rows)
    grouped: dict[int | str, list[int]] = {key: [] for key in entries}
    narrow = (xyxy[:, 2:] - xyxy[:, :2]).min(axis=1, initial=np.inf) < 1
    for i, (row, reason) in enumerate(zip(rows, reasons, strict=True)):
        kept = reason in ("", faults.BOX_CLIPPED)
        for text in (reason, faults.BOX_NARROW if kept and narrow[i] else ""):
            if text:
                log.add(text, row.image.label, f"annotation {row.number!r:.40}: {list(row.xywh)}")
        if kept:
            grouped[row.image.key].append(i)
    _note_fillings(document, [rows[i] for at in grouped.values() for i in at], log)
    tables = {key: _table([rows[i] for i in at], xyxy[at]) for key, at in grouped.items()}
    return tables, _written(document, rows)


def no_boxes() -> BoxTable:
    """The table of an image without annotations."""
    return _table([], np.zeros((0, 4), np.float32))


def _readable_rows(
    document: Document,
    entries: Mapping[int | str, ImageEntry],
    classes: Mapping[int | str, int],
    log: FaultLog,
) -> list[_Row]:
    """Annotations of a known image and category with four finite numbers."""
    known = {identity(item.get("id")) for item in document.images}
    named = {
        faults.BOX_NO_IMAGE: _first_ids("images", document.images),
        faults.BOX_NO_CATEGORY: _first_ids("categories", document.categories),
    }
    rows = []
    for item in document.annotations:
        image = entries.get(key := identity(item.get("image_id")))
        found = _read_row(item, image, classes)
        if isinstance(found, _Row):
            rows.append(found)
            continue
        reason, problem = found
        if reason == faults.BOX_NO_IMAGE and key in known:
            reason = faults.BOX_OF_DROPPED
        if reason in named:
            problem += named[reason]
        where = document.label if image is None or reason == faults.NOT_FINITE else image.label
        log.add(reason, where, f"annotation {item.get('id')!r:.40} {problem}")
    return rows


def _first_ids(what: str, items: Sequence[Json]) -> str:
    """What the ids look like that were not found."""
    ids = ", ".join(f"{item.get('id')!r:.20}" for item in items[:3])
    return f", {what} have {ids}{', ...' if items[3:] else ''}" if items else ""


def _read_row(
    item: Json, image: ImageEntry | None, classes: Mapping[int | str, int]
) -> _Row | tuple[str, str]:
    """The box; or the reason why it is none, and what is wrong with it."""
    xywh, envelope = numbers(item.get("bbox"), 4), None
    if not item.get("bbox"):
        envelope = _envelope(item.get("segmentation"))
    area, score = number(item.get("area")), number(item.get("score", 1))
    crowd = mark(item.get("iscrowd"))
    if not all(map(math.isfinite, (*(xywh or envelope or ()), area or 0, score or 0))):
        return faults.NOT_FINITE, ""
    if image is None:
        return faults.BOX_NO_IMAGE, missing_key(item, "image_id")
    category = classes.get(identity(item.get("category_id")))
    if category is None:
        return faults.BOX_NO_CATEGORY, missing_key(item, "category_id")
    box = xywh or envelope
    if box is None:
        mask = ", only a mask" if isinstance(item.get("segmentation"), dict) else ""
        return faults.BOX_MALFORMED, missing_key(item, "bbox") + mask
    if crowd is None:
        return faults.BOX_CROWD, missing_key(item, "iscrowd")
    if score is None or not 0 < score <= 1:
        return faults.BOX_SCORE, missing_key(item, "score")
    return _Row(
        image=image,
        number=item.get("id"),
        category=category,
        xywh=box,
        crowd=crowd,
        area=max(area or 0.0, 0.0),
        score=score,
        lacks=tuple(reason for reason, lacking in _lacking(item, area).items() if lacking),
    )


def _lacking(item: Json, area: float | None) -> dict[str, bool]:
    """What is filled in for this annotation."""
    return {
        faults.AREA_FILLED: not (area and area > 0),
        faults.CROWD_FILLED: item.get("iscrowd") is None,
        faults.BOX_OF_POLYGON: not item.get("bbox"),
    }


def _envelope(segmentation: object) -> tuple[float, ...] | None:
    """The xywh of polygons, a list of lists x1, y1, x2, y2, ... or one such list."""
    if not isinstance(segmentation, list) or not segmentation:
        return None
    polygons = segmentation if isinstance(segmentation[0], list) else [segmentation]
    points: list[float] = []
    for polygon in polygons:
        flat = numbers(polygon, len(polygon)) if isinstance(polygon, list) else None
        if flat is None or len(flat) < 6 or len(flat) % 2:
            return None
        points += flat
    left, top = min(points[::2]), min(points[1::2])
    return left, top, max(points[::2]) - left, max(points[1::2]) - top


def _note_fillings(document: Document, rows: Sequence[_Row], log: FaultLog) -> None:
    """One remark a file for what the kept boxes lack: area, iscrowd, bbox; and ids of their own."""
    ids = {identity(item.get("id")) for item in document.annotations}
    missing = Counter(reason for row in rows for reason in row.lacks)
    missing[faults.ANNOTATION_IDS] = len(document.annotations) - sum(
        isinstance(number, int) and number > 0 for number in ids
    )
    for reason, count in missing.items():
        if count:
            log.add(reason, document.label, count=count)


def _written(document: Document, rows: Sequence[_Row]) -> WrittenBoxes:
    return WrittenBoxes(
        xywh=np.array([row.xywh for row in rows], np.float64).reshape(-1, 4),
        sizes=np.array([(row.image.width, row.image.height) for row in rows], float).reshape(-1, 2),
        area=np.array([row.area for row in rows], np.float64),
        crowd=np.array([row.crowd for row in rows], np.bool_),
        form=document.box_form,
        unit=document.box_unit,
    )


def _clipped(rows: Sequence[_Row]) -> tuple[Array, list[str]]:
    """(N, 4) xyxy float32 within their images, and for each what was wrong with it."""
    xywh = np.array([row.xywh for row in rows], np.float64).reshape(-1, 4)
    sizes = np.array([(row.image.width, row.image.height) * 2 for row in rows]).reshape(-1, 4)
    xyxy = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
    inside = np.clip(xyxy, 0, sizes)
    stored = inside.astype(np.float32)  # in which a thin box far from the origin has no width
    sides = (stored[:, 2:] - stored[:, :2]).min(axis=1, initial=np.inf)
    overhang = np.abs(inside - xyxy).max(axis=1, initial=0) > OVERHANG
    empty = (xywh[:, 2:] <= 0).any(axis=1) | (~overhang & (sides <= 0))
    outside = (sides <= 0) | (overhang & (sides < 1))
    reasons: list[str] = np.select(
        [empty, outside, overhang], [faults.BOX_EMPTY, faults.BOX_OUTSIDE, faults.BOX_CLIPPED], ""
    ).tolist()
    return stored, reasons


def _table(rows: Sequence[_Row], boxes_xyxy: Array) -> BoxTable:
    sides = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]).astype(np.float64)
    area = np.array([row.area for row in rows], np.float64)
    return BoxTable(
        boxes_xyxy=boxes_xyxy,
        classes=np.array([row.category for row in rows], np.int64),
        crowd=np.array([row.crowd for row in rows], np.bool_),
        scores=np.array([row.score for row in rows], np.float32),
        area=np.where(area > 0, area, sides.prod(axis=1)),
    )
