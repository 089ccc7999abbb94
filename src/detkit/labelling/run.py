"""The `data label` verb: a model looks at images, and a COCO folder of its labels is written.

A report that it is not finished comes first, by which the folder is known as ours; then the images,
the list and the pages of doubtful ones, the report itself, and last of all the annotations, so a
folder whose making was interrupted is never taken for a whole one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from detkit.artifact.artifact import Manifest, Parent
from detkit.artifact.outputs import begin_folder, check_output_folder, seal
from detkit.artifact.writing import copy_file, link_file, write_text
from detkit.config import LabelConfig
from detkit.core.boxes import EVAL_NMS, NmsConfig, area_xyxy
from detkit.core.errors import DataError, UsageError
from detkit.core.serialization import to_json
from detkit.data.coco.write import LabelledImage, annotations_name, split_writers
from detkit.data.image import in_image, network_input
from detkit.labelling.classes import ClassMap, LabelClasses, plan_classes
from detkit.labelling.doubt import doubt_of
from detkit.labelling.image_labels import NEAR, ImageLabels, known_to_human, label_image
from detkit.labelling.images import LabelItem, LabelSource
from detkit.labelling.loading import ImageLoader, LoadedImage
from detkit.labelling.review import LIST_FILE, VERB, ReviewList
from detkit.labelling.totals import Totals
from detkit.report import LabelReport, LabelThresholds
from detkit.runtime.batches import detections_of
from detkit.runtime.session import Session, SuppressingSession

REPORT_FILE = "report.json"


def label_images(
    session: Session,
    source: LabelSource,
    out: Path,
    *,
    model: Parent,
    config: LabelConfig | None = None,
    class_map: ClassMap | None = None,
    force: bool = False,
    on_progress: Callable[[int], None] = lambda _: None,
) -> LabelReport:
    """Labels images into the new COCO folder `out`, and reports what became of each.

    The same model, images and settings give the same bytes. Images that are equal byte for byte are
    labelled once. Scores stay with the boxes; an image on which neither a person nor the model
    looked for some class, or which shows near misses of one, says so (see
    `data.coco.write.write_split`): neither training nor evaluation takes it for complete there.

    Args:
        model: the artifact file as the report names it.
        on_progress: called with the number of images just done.

    Raises:
        UsageError: `out` may not be written to, a class that is not there, or an IoU that would
            change nothing, as the model has its NMS in the graph.
        DataError: no image could be read.
        NonFiniteError: the model gives NaN or Inf.
    """
    config, class_map = config or LabelConfig(), class_map or ClassMap()
    check_output_folder(out, VERB, force=force)
    names = session.manifest.class_names
    classes = plan_classes(names, config, class_map, human_names=source.human_names)
    _check_iou(session, classes, model, config)
    report = _report(session, model, out, classes, config)
    _begin(out, report, source)
    loader = ImageLoader(source.items, session.manifest.preprocess, config.batch)
    totals, review = Totals(), ReviewList(config.sheets)
    with split_writers(out, classes.names) as writer_of:
        for images, num_read in loader.batches():
            for image, labels in _labelled(session, images, classes, config):
                item = image.item
                writer_of(item.split).add(_entry(image, labels, classes))
                num_boxes = totals.add(item, labels, linked=_place(item, out, link=config.link))
                review.add(item, labels, doubt_of(labels, item.human), num_boxes)
            on_progress(num_read)
        if not totals.images:
            raise _nothing_read(source, loader)
        report = dataclasses.replace(
            report,
            finished=True,
            counts=totals.counts(classes.names),
            doubtful=review.most_doubtful,
            sheets=review.write(out, classes.names),
            duplicates=loader.duplicates,
            skipped=source.skipped + tuple(loader.skipped),
            dropped_human_boxes=source.dropped_human_boxes,
        )
        write_text(out / REPORT_FILE, to_json(report) + "\n")
    seal(out, VERB, *_annotation_files(source))
    return report


def _nothing_read(source: LabelSource, loader: ImageLoader) -> DataError:
    return DataError(f"none of {len(source.items)} images could be read: {loader.skipped[0]}")


def _check_iou(session: Session, classes: LabelClasses, model: Parent, config: LabelConfig) -> None:
    """Raises UsageError for an IoU that the graph has fixed."""
    if not _suppresses(session, classes) and config.iou != LabelConfig().iou:
        raise UsageError(f"iou: {model.name} has its NMS in the graph, where the IoU is fixed")


def _suppresses(session: Session, classes: LabelClasses) -> bool:
    """Whether boxes are suppressed here: raw ones, and those of classes that were joined."""
    return classes.are_joined or not isinstance(session, SuppressingSession)


def _begin(out: Path, report: LabelReport, source: LabelSource) -> None:
    """Removes what an earlier run wrote; says by a report that this one is not finished."""
    images = [f"images/{item.name}" for item in source.items]
    begin_folder(out, VERB, [LIST_FILE, REPORT_FILE, *images, *_annotation_files(source)])
    write_text(out / REPORT_FILE, to_json(report) + "\n")


def _annotation_files(source: LabelSource) -> list[str]:
    return [annotations_name(split) for split in sorted({item.split for item in source.items})]


# --- one batch -----------------------------------------------------------------------------------


def _labelled(
    session: Session, images: Sequence[LoadedImage], classes: LabelClasses, config: LabelConfig
) -> Iterator[tuple[LoadedImage, ImageLabels]]:
    """Runs a batch of images, of which there may be none, and chooses the labels of each."""
    if not images:
        return
    most = max(EVAL_NMS.max_candidates, config.max_boxes)
    nms = NmsConfig(
        score_threshold=NEAR * float(classes.least.min()),
        iou_threshold=config.iou,
        max_candidates=most,
        max_detections=most,
    )
    batch = network_input([image.padded for image in images], session.manifest.preprocess)
    for image, found in zip(images, detections_of(session, batch, nms), strict=True):
        inside = in_image(found, image.geometry)
        yield image, label_image(inside, classes, config, image.item.human)


def _entry(image: LoadedImage, labels: ImageLabels, classes: LabelClasses) -> LabelledImage:
    """What the annotations say of an image: people's boxes first, then the model's with scores.

    Of a class with near misses there may be more than the labels say.
    """
    found, human, known = labels.labels, image.item.human, classes.is_looked_for.copy()
    known[labels.near_misses.classes] = False
    entry = LabelledImage(
        file_name=image.item.name,
        width=image.geometry.width,
        height=image.geometry.height,
        boxes_xyxy=found.boxes_xyxy,
        classes=found.classes,
        scores=found.scores,
        known=known,
    )
    if human is None:
        return entry
    num_found = len(found)
    area = area_xyxy(found.boxes_xyxy).astype(np.float64)
    drawn = np.where(human.scores < 1, human.scores, np.float32(np.nan))
    return dataclasses.replace(
        entry,
        boxes_xyxy=np.concatenate([human.boxes_xyxy, found.boxes_xyxy]),
        classes=np.concatenate([human.classes, found.classes]),
        scores=np.concatenate([drawn, found.scores]),
        crowd=np.concatenate([human.crowd, np.zeros(num_found, np.bool_)]),
        area=np.concatenate([human.area, area]),
        known=known | known_to_human(human, classes),
    )


def _place(item: LabelItem, out: Path, *, link: bool) -> bool:
    """Puts an image into the folder; returns whether it is a hard link.

    Where the file system has no hard links, or another one is there, the image is copied.
    """
    target = out / "images" / item.name
    if link and link_file(item.path, target):
        return True
    copy_file(item.path, target)
    return False


def _report(
    session: Session, model: Parent, out: Path, classes: LabelClasses, config: LabelConfig
) -> LabelReport:
    """The report of what is known before any image has been looked at."""
    manifest = session.manifest
    return LabelReport(
        folder=str(out),
        model=model.name,
        model_sha256=model.sha256,
        licence=manifest.licence if isinstance(manifest, Manifest) else "",
        runtime=session.engine,
        precision_mode=manifest.precision,
        class_names=classes.names,
        thresholds=LabelThresholds(
            least_scores=classes.least_scores,
            renamed=classes.renamed,
            dropped_classes=classes.dropped,
            nms_iou=config.iou if _suppresses(session, classes) else None,
            max_boxes=config.max_boxes,
            human_classes=config.human_classes if classes.num_human else "",
        ),
        counts=Totals().counts(classes.names),
    )
