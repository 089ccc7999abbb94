"""Images -> detections, drawn and as COCO-format JSON. No ground truth, no torch.

`write_predictions` leaves in its folder, beside the drawn images, `detections.json`, a list that
pycocotools' `loadRes` reads, and `images.json`, the images and classes its ids stand for.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detkit.artifact.artifact import Signature
from detkit.artifact.outputs import begin_folder, made_files
from detkit.artifact.writing import write_text
from detkit.core.boxes import PREDICT_NMS, Detections, NmsConfig, xywh_from_xyxy
from detkit.core.errors import DataError, UsageError
from detkit.data.coco.ids import Id, OutputIds, counted_ids
from detkit.data.draw import draw_detections, save_image
from detkit.data.image import Pixels, in_image, letterbox, network_input, read_told
from detkit.report import PredictReport
from detkit.runtime.batches import detections_of
from detkit.runtime.session import Session

VERB = "predict"  # that the folder is made by
DETECTIONS_FILE, IMAGES_FILE = "detections.json", "images.json"


def images_apart(paths: Iterable[Path], out: Path) -> list[Path]:
    """The images without those that an earlier run drew into `out`.

    Raises:
        UsageError: another image lies in `out`, among which nothing is drawn.
    """
    home = out.resolve()
    drawn = {home / name for name in made_files(out).of(VERB)}
    kept = [path for path in paths if path.resolve() not in drawn]
    for path in kept:
        if path.resolve().is_relative_to(home):
            raise UsageError(f"{path} lies in {out}", hint="-o a folder without images of yours")
    return kept


def nms_of(facts: Signature, *, conf: float | None, iou: float | None) -> NmsConfig:
    """What becomes of raw predictions; None takes the model's own thresholds, and the usual IoU.

    >>> from detkit.artifact.artifact import read_manifest
    >>> nms_of(read_manifest("best.onnx"), conf=None, iou=0.6).score_threshold
    0.25
    """
    return dataclasses.replace(
        PREDICT_NMS,
        score_threshold=PREDICT_NMS.score_threshold if conf is None else conf,
        class_thresholds=facts.score_thresholds if conf is None else (),
        iou_threshold=PREDICT_NMS.iou_threshold if iou is None else iou,
    )


@dataclass(frozen=True)
class Prediction:
    """An image (H, W, 3) uint8 and what the model found in it, in its pixels.

    `remark` is what should be told of its values (see `data.image.to_rgb`).
    """

    path: Path
    image: Pixels
    detections: Detections
    remark: str = ""


@dataclass(frozen=True)
class Unreadable:
    """An image that could not be decoded."""

    path: Path
    reason: str


def predict_images(
    session: Session, paths: Sequence[Path], nms: NmsConfig = PREDICT_NMS
) -> Iterator[Prediction | Unreadable]:
    """Detects objects in each image; yields one result for each path, in order.

    Raises:
        ArtifactError: the model gives NaN or Inf.
    """
    for path in paths:
        try:
            image, remark = read_told(path)
        except DataError as error:
            yield Unreadable(path, str(error))
            continue
        (found,) = detect_in_images(session, [image], nms)
        yield Prediction(path, image, found, remark)


def detect_in_images(
    session: Session, images: Sequence[Pixels], nms: NmsConfig
) -> list[Detections]:
    """Detects objects in images (H, W, 3) uint8 RGB, run as one batch; boxes in their pixels.

    Raises:
        NonFiniteError: the model gives NaN or Inf.
    """
    preprocess = session.manifest.preprocess
    padded = [letterbox(image, preprocess) for image in images]
    batch = network_input([image for image, _ in padded], preprocess)
    geometries = [geometry for _, geometry in padded]
    return list(map(in_image, detections_of(session, batch, nms), geometries))


def write_predictions(
    results: Iterator[Prediction | Unreadable],
    names: Sequence[Path],
    class_names: Sequence[str],
    folder: Path,
    *,
    ids: OutputIds | None = None,
    on_progress: Callable[[int], None] = lambda _: None,
) -> PredictReport:
    """Draws every result into `folder` and writes the two JSON files there.

    Args:
        names: of each result, its distinct relative path, which names the drawn image.
        ids: what images and classes are called; they count from 1 by default. Detections of a
            class without an id are drawn, counted, and left out of the file.
        on_progress: called with 1 after each.

    Raises:
        DetkitError: the folder cannot be written to.
    """
    drawn, skipped, remarks, images, entries = [], [], [], [], []
    ids = ids or counted_ids(len(names), len(class_names))
    targets = drawn_names(names)
    begin_folder(folder, VERB, [*map(str, targets), DETECTIONS_FILE, IMAGES_FILE])
    found = 0
    rows = zip(ids.images, results, names, targets, strict=True)
    for image_id, result, name, drawn_name in rows:
        on_progress(1)
        if isinstance(result, Unreadable):
            skipped.append(result.reason)
            continue
        target = folder / drawn_name
        save_image(target, draw_detections(result.image, result.detections, class_names))
        drawn.append(str(target))
        images.append(_image_entry(image_id, name, result.image))
        if result.remark:
            remarks.append(f"{name}: dark as it is read: {result.remark}")
        found += len(result.detections)
        entries += _detection_entries(image_id, name, result.detections, class_names, ids)
    named = zip(ids.classes, class_names, strict=True)
    categories = [{"id": k, "name": name} for k, name in named if k is not None]
    listing = {"info": {}, "images": images, "categories": categories, "annotations": []}
    write_text(folder / IMAGES_FILE, json.dumps(listing) + "\n")
    write_text(folder / DETECTIONS_FILE, json.dumps(entries) + "\n")
    return PredictReport(
        detections_file=str(folder / DETECTIONS_FILE),
        images=len(images),
        detections=len(entries),
        drawn=tuple(drawn),
        skipped=tuple(skipped),
        remarks=tuple(remarks),
        without_id=found - len(entries),
    )


def drawn_names(names: Sequence[Path]) -> list[Path]:
    """Names the drawn images: `a/b.jpg` for `a/b.png`; where that is taken, `a/b.png.jpg`."""
    taken: dict[Path, None] = {}
    for name in names:
        target = name.with_suffix(".jpg")
        while target in taken:
            name = name.with_name(f"{name.name}.jpg")
            target = name
        taken[target] = None
    return list(taken)


def _image_entry(image_id: Id, name: Path, image: Pixels) -> dict[str, Any]:
    height, width = image.shape[:2]
    return {"id": image_id, "file_name": name.as_posix(), "width": width, "height": height}


def _detection_entries(
    image_id: Id, name: Path, found: Detections, class_names: Sequence[str], ids: OutputIds
) -> list[dict[str, Any]]:
    """Detections in COCO's result format, those of a class without an id left out."""
    boxes_xywh = xywh_from_xyxy(found.boxes_xyxy).tolist()
    rows = zip(found.classes.tolist(), boxes_xywh, found.scores.tolist(), strict=True)
    return [
        {
            "image_id": image_id,
            "file_name": name.as_posix(),
            "category_id": ids.classes[class_index],
            "category_name": class_names[class_index],
            "bbox": [round(side, 3) for side in box],
            "score": round(score, 6),
        }
        for class_index, box, score in rows
        if ids.classes[class_index] is not None
    ]
