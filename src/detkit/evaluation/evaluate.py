"""The COCO figures of a model: run it on a split, hand its boxes to pycocotools or its fast twin.

What lives here: detections in image pixels, the data both scorers are given, and the figures read
off their arrays. Both scorers are silent about the same traps (ids from 0, missing areas, NaN
scores), so both are given numbered, complete, finite data. What does not: precision and recall of a
confidence threshold (see `operating_point`). No torch: exported models are scored without it.

Legend: T IoU thresholds, R recall points, K classes, S size ranges (all, small, medium, large),
M detection limits (1, 10, 100 an image and class).
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from detkit.artifact.artifact import Parent
from detkit.core.boxes import EVAL_NMS, Detections, NmsConfig
from detkit.core.errors import ArtifactError, BackendError, DataError, UsageError, did_you_mean
from detkit.core.lazy_import import install_hint
from detkit.core.memory import no_garbage_collection
from detkit.data.coco.classes import match_classes
from detkit.data.coco.folder import CocoSplit
from detkit.data.coco.selection import as_trained
from detkit.data.coco.split_reader import ImageRecord
from detkit.data.eval_loader import eval_batches
from detkit.data.image import in_image
from detkit.evaluation.operating_point import AllBoxes, best_f1, boxes_per_class
from detkit.report import ClassScore, EvalReport, Figures
from detkit.runtime.batches import detections_of
from detkit.runtime.session import Session, SuppressingSession

Floats = npt.NDArray[np.float64]

SCORERS = {"fast": "faster-coco-eval", "pycocotools": "pycocotools"}  # -> distribution


def score_split(
    session: Session,
    split: CocoSplit,
    *,
    model: Parent,
    data: str,
    batch_size: int = 8,
    nms: NmsConfig = EVAL_NMS,
    scorer: str = "fast",
    on_progress: Callable[[int], None] = lambda _: None,
) -> EvalReport:
    """Scores a model on a split: on the classes of the data, of which the model may have more.

    One that was trained on some classes of its data, or on all as one, is scored likewise.

    Args:
        model, data: the artifact file and the folder, as the report names them.
        on_progress: called with the number of images just done.

    Raises:
        DataError: an empty split, an image that cannot be read, or a class that the model
            does not know.
        NonFiniteError: the model gives NaN or Inf.
        BackendError: the scorer is not installed.
    """
    _load_scorer(scorer)  # before minutes of work, not after
    if not split.records:
        raise DataError(f"split '{split.name}' of {data} has no images")
    split = as_trained(split, session.manifest)
    data_class = match_classes(session.manifest.class_names, split.class_names)
    detections = [
        _in_data(found, data_class)
        for found in detect(
            session, split.records, batch_size=batch_size, nms=nms, on_progress=on_progress
        )
    ]
    figures = coco_figures(split.records, split.class_names, detections, scorer=scorer)
    in_graph = isinstance(session, SuppressingSession)
    return EvalReport(
        **vars(figures),
        model=model.name,
        model_sha256=model.sha256,
        runtime=session.engine,
        precision_mode=session.manifest.precision,
        data=data,
        split=split.name,
        score_threshold=None if in_graph else nms.score_threshold,
        nms_iou=None if in_graph else nms.iou_threshold,
        max_detections=None if in_graph else nms.max_detections,
    )


def _in_data(found: Detections, data_class: npt.NDArray[np.int64]) -> Detections:
    """The detections of classes that the data has, numbered as there."""
    classes = data_class[found.classes]
    there = classes >= 0
    return Detections(found.boxes_xyxy[there], found.scores[there], classes[there])


# --- detections ----------------------------------------------------------------------------------


def detect(
    session: Session,
    records: Sequence[ImageRecord],
    *,
    batch_size: int = 8,
    nms: NmsConfig = EVAL_NMS,
    on_progress: Callable[[int], None] = lambda _: None,
) -> list[Detections]:
    """Detects objects in each record's image, in its pixels, cut to the image (see `in_image`).

    Raises:
        DataError: an image that cannot be read.
        NonFiniteError: the model gives NaN or Inf.
    """
    found: list[Detections] = []
    for batch in eval_batches(records, session.manifest.preprocess, batch_size):
        in_network = detections_of(session, batch.images, nms)
        found += map(in_image, in_network, batch.letterboxes)
        on_progress(len(batch.records))
    return found


# --- the 12 figures ------------------------------------------------------------------------------


def coco_figures(
    records: Sequence[ImageRecord],
    class_names: Sequence[str],
    detections: Sequence[Detections],
    *,
    scorer: str = "fast",
) -> Figures:
    """Computes the figures of one `Detections` a record, whose classes index `class_names`.

    None where there is no ground truth to measure on (the -1 of pycocotools). As in LVIS,
    detections of classes that an image's labels do not speak of are left out: nothing says whether
    they are right.

    Raises:
        UsageError: an unknown scorer.
        BackendError: one that is not installed.
        ArtifactError: NaN or Inf among the detections; pycocotools would score them 1.0.
    """
    if not all(np.isfinite(d.boxes_xyxy).all() and np.isfinite(d.scores).all() for d in detections):
        raise ArtifactError("detections hold NaN or Inf")
    detections = [_judged(*pair) for pair in zip(records, detections, strict=True)]
    precision, recall = _run_scorer(scorer, records, class_names, detections)
    best, per_class_best = best_f1(records, len(class_names), detections)
    totals = boxes_per_class(records, len(class_names))
    per_class = {
        name: ClassScore(
            ap=_mean(precision[:, :, k, 0, 2]),
            ap50=_mean(precision[0, :, k, 0, 2]),
            boxes=int(totals[k]),
            **vars(per_class_best[k]),
        )
        for k, name in enumerate(class_names)
    }
    return Figures(
        ap=_mean(precision[:, :, :, 0, 2]),
        ap50=_mean(precision[0, :, :, 0, 2]),
        ap75=_mean(precision[5, :, :, 0, 2]),
        ap_small=_mean(precision[:, :, :, 1, 2]),
        ap_medium=_mean(precision[:, :, :, 2, 2]),
        ap_large=_mean(precision[:, :, :, 3, 2]),
        ar1=_mean(recall[:, :, 0, 0]),
        ar10=_mean(recall[:, :, 0, 1]),
        ar100=_mean(recall[:, :, 0, 2]),
        ar_small=_mean(recall[:, :, 1, 2]),
        ar_medium=_mean(recall[:, :, 2, 2]),
        ar_large=_mean(recall[:, :, 3, 2]),
        **vars(best),
        per_class=per_class,
        images=len(records),
        boxes=int(totals.sum()),
        detections=sum(map(len, detections)),
        engine=scorer,
        engine_version=importlib.metadata.version(SCORERS[scorer]),
    )


def _judged(record: ImageRecord, found: Detections) -> Detections:
    """The detections of classes that the image's labels speak of."""
    if record.known is None:
        return found
    keep = record.known[found.classes]
    return Detections(found.boxes_xyxy[keep], found.scores[keep], found.classes[keep])


def _mean(values: Floats) -> float | None:
    valid = values[values > -1]
    return float(valid.mean()) if valid.size else None


def _load_scorer(scorer: str) -> tuple[Any, Any]:
    """Imports the classes COCO and COCOeval of a scorer, of which one is enough.

    Raises:
        UsageError: an unknown scorer.
        BackendError: one that is not installed.
    """
    if scorer not in SCORERS:
        raise UsageError(f"unknown scorer '{scorer}'", hint=did_you_mean(scorer, SCORERS))
    try:
        if scorer == "fast":
            from faster_coco_eval import COCO, COCOeval_faster

            return COCO, COCOeval_faster
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        return COCO, COCOeval
    except ModuleNotFoundError as error:
        other = next(name for name in SCORERS if name != scorer)
        raise BackendError(
            f"{SCORERS[scorer]} is not installed here",
            hint=f"{install_hint(SCORERS[scorer])}, or --scorer {other}",
        ) from error


def _run_scorer(
    scorer: str,
    records: Sequence[ImageRecord],
    class_names: Sequence[str],
    detections: Sequence[Detections],
) -> tuple[Floats, Floats]:
    """Computes precision (T, R, K, S, M) and recall (T, K, S, M), -1 where nothing is measured."""
    coco_class, scorer_class = _load_scorer(scorer)

    def index(annotations: list[dict[str, Any]]) -> Any:
        """Indexes annotations by ids from 1: both scorers lose the match of an annotation 0."""
        coco = coco_class()
        coco.dataset = {
            "images": [{"id": i} for i in range(1, len(records) + 1)],
            "categories": [{"id": k, "name": name} for k, name in enumerate(class_names, 1)],
            "annotations": annotations,
        }
        coco.createIndex()
        return coco

    # both print as they go, and make millions of objects that no collection would free
    with contextlib.redirect_stdout(io.StringIO()), no_garbage_collection():
        coco_eval = scorer_class(
            index(_truth_entries(records)), index(_found_entries(detections)), "bbox"
        )
        coco_eval.evaluate()
        coco_eval.accumulate()
    return coco_eval.eval["precision"], coco_eval.eval["recall"]


def _truth_entries(records: Sequence[ImageRecord]) -> list[dict[str, Any]]:
    boxes = AllBoxes.of_all([(record.boxes_xyxy, record.classes) for record in records])
    areas = np.concatenate([np.empty(0), *(record.area for record in records)])
    crowds = np.concatenate([np.empty(0, int), *(record.crowd for record in records)])
    columns = (boxes.images + 1, boxes.classes + 1, boxes.xywh, areas, crowds)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return [
        {"id": i, "image_id": image, "category_id": k, "bbox": box, "area": area, "iscrowd": crowd}
        for i, (image, k, box, area, crowd) in enumerate(rows, 1)
    ]


def _found_entries(detections: Sequence[Detections]) -> list[dict[str, Any]]:
    boxes = AllBoxes.of_all([(found.boxes_xyxy, found.classes) for found in detections])
    areas = boxes.xywh[:, 2] * boxes.xywh[:, 3]
    scores = np.concatenate([np.empty(0, np.float32), *(found.scores for found in detections)])
    columns = (boxes.images + 1, boxes.classes + 1, boxes.xywh, areas, scores)
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return [
        {"id": i, "image_id": image, "category_id": k, "bbox": box, "area": area, "score": score}
        for i, (image, k, box, area, score) in enumerate(rows, 1)
    ]
