"""What most boxes or images of a split have in common that is seldom meant.

Each is told with its likely cause and the line that mends it; the data stays what it is. What is
wrong beyond doubt is not here (see `faults`).

Legend: N boxes as the file writes them, before they are cut to their images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from detkit.report import Suspicion

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

OUTSIDE = 0.02  # of a side of the image; boxes that reach further outside are not mere rounding
SOME, MOST, NEARLY_ALL = 0.1, 0.5, 0.95
MANY = 20  # boxes; fewer say nothing about the range of their numbers
LEAST_SIDE = 2.0  # pixels at the network's size; training drops what is smaller
READABLE_SIDE = 8.0  # pixels that an object should have at the network's size
LARGEST_SIZE = 1536  # pixels; beyond, images are better cut into tiles
FORMS = {"xywh": "left, top, width, height", "xyxy": "corners", "cxcywh": "centre and size"}

UNITS = {
    "pixels": "pixels",
    "shares": "shares of the image's sides (normalised)",
    "percent": "per cent of the image's sides",
}


@dataclass(frozen=True, kw_only=True)
class WrittenBoxes:
    """All readable boxes of a split: xywh (N, 4) pixels, image sizes (N, 2) width, height.

    `area` (N,) is 0 where none is stated, `crowd` (N,) marks crowd regions. `form` and `unit` are
    how the source was taken to write its boxes: one of FORMS, and pixels, shares or percent.
    """

    xywh: Floats
    sizes: Floats
    area: Floats
    crowd: Mask
    form: str = "xywh"
    unit: str = "pixels"


def corners(quads: Floats, form: str) -> Floats:
    """Four numbers (N, 4) of a box in a form -> left, top, right, bottom."""
    first, second = quads[:, :2], quads[:, 2:]
    if form == "xyxy":
        return quads
    with np.errstate(invalid="ignore"):  # an infinite centre and size give no corner
        left_top = first - second / 2 if form == "cxcywh" else first
        return np.concatenate([left_top, left_top + second], axis=1)


def _as_written(boxes: WrittenBoxes) -> Floats:
    """The four numbers (N, 4) as the source has them, in pixels."""
    left_top, sides = boxes.xywh[:, :2], boxes.xywh[:, 2:]
    parts = {
        "xywh": [left_top, sides],
        "xyxy": [left_top, left_top + sides],
        "cxcywh": [left_top + sides / 2, sides],
    }
    return np.concatenate(parts[boxes.form], axis=1)


def suspect_boxes(split: str, boxes: WrittenBoxes, convert: str) -> list[Suspicion]:
    """What speaks against the boxes of a split; `convert` is the command that reads them again."""
    total = len(boxes.xywh)
    if not total:
        return []
    found = _unit(split, boxes, convert) or _form(split, boxes, convert)
    crowds = int(boxes.crowd.sum())
    if crowds >= MOST * total:
        found.append(
            Suspicion(
                split=split,
                count=crowds,
                total=total,
                what="boxes are crowd regions (iscrowd 1), which are not trained on",
                cause="some tools write iscrowd 1 for every mask",
                remedy=f"{convert} --no-crowd -o NEW takes them as objects",
            )
        )
    return found


def _unit(split: str, boxes: WrittenBoxes, convert: str) -> list[Suspicion]:
    """Shares of the image, or per cent of it, in the place of pixels; or the other way round."""
    quads, total = _as_written(boxes), len(boxes.xywh)
    if boxes.unit == "pixels":
        within_one = (np.abs(quads) <= 1).all(axis=1) & (boxes.sizes.min(axis=1) > 2)
        raw = quads
        counts = {
            "shares": int(within_one.sum()),
            "percent": total * _are_percent(quads, boxes.sizes),
        }
        what = "lie within {} of the image's corner"
        whats = {"shares": what.format("a pixel"), "percent": what.format("100 pixels")}
    else:
        parts = {"shares": 1, "percent": 100}[boxes.unit]
        raw = quads / boxes.sizes[:, [0, 1, 0, 1]] * parts
        large = int((raw > 1.5 * parts).any(axis=1).sum())
        percent = boxes.unit == "shares" and _are_percent(raw, boxes.sizes)
        pixels = not percent and _fits(raw, boxes.form, boxes.sizes).mean() >= NEARLY_ALL
        counts = {"pixels": large * pixels, "percent": large * percent}
        whats = dict.fromkeys(counts, f"have larger numbers than {boxes.unit} can be")
    flags = {unit: f"--box-unit {unit}{_form_flag(raw, unit, boxes)}" for unit in counts}
    return [
        Suspicion(
            split=split,
            count=count,
            total=total,
            what=f"boxes {whats[unit]}",
            cause=f"their numbers look like {UNITS[unit]}, not {UNITS[boxes.unit]}",
            remedy=f"{convert} {flags[unit]} -o NEW reads them so"
            if count >= NEARLY_ALL * total
            else f"write them in {boxes.unit}, as the others are",
        )
        for unit, count in counts.items()
        if count >= SOME * total
    ]


def _form_flag(raw: Floats, unit: str, boxes: WrittenBoxes) -> str:
    """The form to ask for with a unit, where only another than the usual one fits."""
    parts = {"shares": 1.0, "percent": 100.0}
    quads = raw * boxes.sizes[:, [0, 1, 0, 1]] / parts[unit] if unit in parts else raw
    image = boxes.sizes.prod(axis=1)
    for area in (boxes.area, boxes.area * image):
        other = _contradicted(quads, boxes.form, area)
        if other and _fits(quads, other, boxes.sizes).mean() >= NEARLY_ALL:
            return f" --box-form {other}"
    if _fits(quads, boxes.form, boxes.sizes).mean() > 1 - SOME:
        return ""
    fitting = [f for f in FORMS if _fits(quads, f, boxes.sizes).mean() >= NEARLY_ALL]
    return f" --box-form {fitting[0]}" if fitting else ""


def _are_percent(quads: Floats, sizes: Floats) -> bool:
    """Whether numbers of many boxes in large images go up to 100 and never beyond."""
    many = len(quads) >= MANY and sizes.min() >= 200
    return bool(many and quads.min() >= 0 and 50 < quads.max() <= 100)


def _form(split: str, boxes: WrittenBoxes, convert: str) -> list[Suspicion]:
    """Corners, or centres, in the place of left, top, width, height; and so on."""
    quads, total = _as_written(boxes), len(boxes.xywh)
    bad = ~_fits(boxes.xywh, "xywh", boxes.sizes)
    contradicted = _contradicted(quads, boxes.form, boxes.area)
    if bad.mean() < SOME and contradicted is None:
        return []
    count = int(bad.sum()) if bad.mean() >= SOME else total
    what = "boxes reach outside the image or have no area"
    for form, name in FORMS.items():
        fitting = _fits(quads, form, boxes.sizes).mean() >= NEARLY_ALL
        if form != boxes.form and fitting and contradicted in (None, form):
            return [
                Suspicion(
                    split=split,
                    count=count,
                    total=total,
                    what=what if bad.mean() >= SOME else "boxes contradict their area",
                    cause=f"their numbers fit as {form} ({name}), not as {boxes.form}",
                    remedy=f"{convert} --box-form {form} -o NEW reads them so",
                )
            ]
    if bad.mean() < SOME:
        return []
    cause = "they may be those of images of another size, or in another unit"
    remedy = (
        "look at what the tool writes; --box-form and --box-unit of `detkit data convert` read it"
    )
    return [Suspicion(split=split, count=count, total=total, what=what, cause=cause, remedy=remedy)]


def _fits(quads: Floats, form: str, sizes: Floats) -> Mask:
    """Which boxes (N,) have an area and lie within their image, give or take a little."""
    xyxy, slack = corners(quads, form), np.maximum(sizes * OUTSIDE, 1.5)
    inside = (xyxy[:, :2] >= -slack) & (xyxy[:, 2:] <= sizes + slack)
    return np.asarray((inside & (xyxy[:, 2:] > xyxy[:, :2])).all(axis=1))


def _contradicted(quads: Floats, own: str, area: Floats) -> str | None:
    """The form whose width times height is the stated area of nearly all, if it is not the own."""
    stated = area > 0
    if not stated.any():
        return None
    equal = {
        form: float(_equals(quads[stated], form, area[stated]).mean()) for form in ("xywh", "xyxy")
    }
    other = "xywh" if own == "xyxy" else "xyxy"
    mine = equal["xyxy" if own == "xyxy" else "xywh"]
    return other if equal[other] >= NEARLY_ALL and mine < MOST else None


def _equals(quads: Floats, form: str, area: Floats) -> Mask:
    xyxy = corners(quads, form)
    sides = xyxy[:, 2:] - xyxy[:, :2]
    close = np.abs(sides.prod(axis=1) - area) <= 0.01 * area
    return np.asarray((sides > 0).all(axis=1) & close)


# --- images and classes --------------------------------------------------------------------------


def suspect_images(split: str, total: int, empty: int, dark: int) -> list[Suspicion]:
    """Most images without a box, or with small values in 16-bit files, of `total`."""
    found = []
    if empty > MOST * total:
        found.append(
            Suspicion(
                split=split,
                count=empty,
                total=total,
                what="images have no boxes",
                cause="they are trained on as background, unless their labels were lost",
                remedy="leave them out of 'images' if nobody looked for objects in them",
            )
        )
    if dark > SOME * total:
        found.append(
            Suspicion(
                split=split,
                count=dark,
                total=total,
                what="images have 16 bits a value and use few of them, so that they are dark",
                cause="cameras of 10, 12 or 14 bits write so",
                remedy="scale them first, as ImageMagick's `mogrify -evaluate multiply 16` does",
            )
        )
    return found


def suspect_classes(
    split: str, boxes_per_class: dict[str, int], trained: dict[str, int]
) -> list[Suspicion]:
    """Classes with boxes in this split and none in the one that is trained on."""
    untrained = [name for name, count in boxes_per_class.items() if count and not trained[name]]
    if not untrained or not any(trained.values()):
        return []
    return [
        Suspicion(
            split=split,
            count=len(untrained),
            total=len(boxes_per_class),
            what="classes have boxes here and none in train",
            cause=f"nothing can be learned of '{untrained[0]}'",
            remedy="give each class some images of the train split",
        )
    ]


def suspect_sizes(
    split: str, sides: Floats, scales: Floats, imgsz: int, *, share: float = SOME
) -> list[Suspicion]:
    """Objects that vanish at the network's size.

    Args:
        sides: the smaller side (N,) of each box, in pixels of its image.
        scales: what its image is scaled by (N,).
        imgsz: the longer side of the network's input.
        share: of the boxes from which it is told.
    """
    total, tiny = len(sides), int((sides * scales < LEAST_SIDE).sum())
    if not tiny or tiny < share * total:
        return []
    wanted = imgsz * READABLE_SIDE / float(np.median(sides * scales))
    fitting = -(-int(np.ceil(wanted)) // 32) * 32
    remedy = f"--imgsz {fitting} shows most of them at {READABLE_SIDE:g} pixels"
    if fitting > LARGEST_SIZE or fitting <= imgsz:
        remedy = "cut the images into tiles, or train at a larger --imgsz"
    return [
        Suspicion(
            split=split,
            count=tiny,
            total=total,
            what=f"boxes are narrower than {LEAST_SIDE:g} pixels at --imgsz {imgsz}",
            cause="training leaves out what is that small, and nothing can find it",
            remedy=remedy,
        )
    ]
