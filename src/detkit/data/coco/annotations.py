"""The boxes of a COCO document: checked, clipped, grouped by image, every fault noted."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from detkit.core.boxes import Array
from detkit.data.coco import faults
from detkit.data.coco.coco_json import Categories, Document, ImageEntry
from detkit.data.coco.faults import FaultLog

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


@dataclass(frozen=True)
class _Row:
    image: ImageEntry
    number: object  # the annotation's id, for messages only
    category: int  # contiguous
    xywh: tuple[float, ...]
    crowd: bool
    area: float  # 0 where the JSON has none
    score: float


def read_boxes(
    document: Document,
    entries: Mapping[int | str, ImageEntry],
    categories: Categories,
    log: FaultLog,
) -> dict[int | str, BoxTable]:
    """The clean boxes of each image of `entries`, by the image's key.

    Images without an entry were unknown or dropped; so are their boxes.
    """
    rows = _readable_rows(document, entries, categories, log)
    _note_fillings(document, log)
    xyxy, reasons = _clipped(rows)
    grouped: dict[int | str, list[int]] = {key: [] for key in entries}
    for i, (row, reason) in enumerate(zip(rows, reasons, strict=True)):
        if reason:
            log.add(reason, row.image.label, f"annotation {row.number!r:.40}: {list(row.xywh)}")
        if reason in ("", faults.BOX_CLIPPED):
            grouped[row.image.key].append(i)
    return {key: _table([rows[i] for i in at], xyxy[at]) for key, at in grouped.items()}


def no_boxes() -> BoxTable:
    """The table of an image without annotations."""
    return _table([], np.zeros((0, 4), np.float32))


def _readable_rows(
    document: Document,
    entries: Mapping[int | str, ImageEntry],
    categories: Categories,
    log: FaultLog,
) -> list[_Row]:
    """Annotations of a known image and category with four finite numbers."""
    known = {_key(item.get("id")) for item in document.images}
    index_of: dict[int | str, int] = {number: index for index, number in enumerate(categories.ids)}
    rows = []
    for item in document.annotations:
        image = entries.get(key := _key(item.get("image_id")))
        category = index_of.get(_key(item.get("category_id")))
        xywh, area = _numbers(item.get("bbox"), 4), _numbers([item.get("area")], 1)
        score = _numbers([item.get("score", 1.0)], 1)
        detail = f"annotation {item.get('id')!r:.40}"
        if not all(map(math.isfinite, (*(xywh or ()), *(area or ()), *(score or ())))):
            log.add(faults.NOT_FINITE, document.label, detail)
        elif image is None:
            reason = faults.BOX_OF_DROPPED if key in known else faults.BOX_NO_IMAGE
            log.add(reason, document.label, detail)
        elif category is None:
            log.add(faults.BOX_NO_CATEGORY, image.label, detail)
        elif xywh is None:
            log.add(faults.BOX_MALFORMED, image.label, detail)
        elif score is None or not 0 < score[0] <= 1:
            log.add(faults.BOX_SCORE, image.label, detail)
        else:
            crowd, size = bool(item.get("iscrowd")), area[0] if area else 0.0
            rows.append(_Row(image, item.get("id"), category, xywh, crowd, size, score[0]))
    return rows


def _key(value: object) -> int | str:
    """An id that can be looked up; nothing is called by the empty text."""
    return value if isinstance(value, (int, str)) and not isinstance(value, bool) else ""


def _numbers(value: object, count: int) -> tuple[float, ...] | None:
    """`count` numbers as floats, too large ones as infinity; None for anything else."""
    if not isinstance(value, list) or len(value) != count:
        return None
    if not all(isinstance(x, (int, float)) and not isinstance(x, bool) for x in value):
        return None
    try:
        return tuple(map(float, value))
    except OverflowError:
        return (math.inf,) * count


def _note_fillings(document: Document, log: FaultLog) -> None:
    """One remark a file for what annotations lack: area, iscrowd, ids of their own."""
    annotations = document.annotations
    ids = {number for item in annotations if isinstance(number := _key(item.get("id")), int)}
    missing = {
        faults.AREA_FILLED: sum(_numbers([item.get("area")], 1) is None for item in annotations),
        faults.CROWD_FILLED: sum("iscrowd" not in item for item in annotations),
        faults.ANNOTATION_IDS: len(annotations) - sum(number > 0 for number in ids),
    }
    for reason, count in missing.items():
        if count:
            log.add(reason, document.label, count=count)


def _clipped(rows: Sequence[_Row]) -> tuple[Array, list[str]]:
    """(N, 4) xyxy float32 within their images, and for each what was wrong with it."""
    xywh = np.array([row.xywh for row in rows], np.float64).reshape(-1, 4)
    sizes = np.array([(row.image.width, row.image.height) * 2 for row in rows]).reshape(-1, 4)
    xyxy = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], axis=1)
    inside = np.clip(xyxy, 0, sizes)
    sides = (inside[:, 2:] - inside[:, :2]).min(axis=1, initial=np.inf)
    empty = (xywh[:, 2:] <= 0).any(axis=1)
    overhang = np.abs(inside - xyxy).max(axis=1, initial=0) > OVERHANG
    outside = (sides <= 0) | (overhang & (sides < 1))
    reasons: list[str] = np.select(
        [empty, outside, overhang], [faults.BOX_EMPTY, faults.BOX_OUTSIDE, faults.BOX_CLIPPED], ""
    ).tolist()
    return inside.astype(np.float32), reasons


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
