"""Labels of a real detector on real images are worth what `eval` says of the detector."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from detkit.artifact.artifact import parent_of
from detkit.config import LabelConfig
from detkit.core.boxes import EVAL_NMS, Detections
from detkit.data.coco.classes import match_classes
from detkit.data.coco.folder import open_folder
from detkit.engines.opening import open_session
from detkit.evaluation.evaluate import coco_figures, score_split
from detkit.labelling.images import find_label_images
from detkit.labelling.run import label_images
from detkit.spec.onnx_presets import PRESETS

SHARED = Path(__file__).resolve().parents[3] / "shared"
MODEL = SHARED / "models" / "yolox_nano.onnx"
IMAGES = SHARED / "data" / "coco_mini"
CONFIG = LabelConfig(
    score=EVAL_NMS.score_threshold,
    iou=EVAL_NMS.iou_threshold,
    max_boxes=EVAL_NMS.max_detections,
    sheets=1,
)


@pytest.mark.skipif(
    not (MODEL.exists() and IMAGES.exists()),
    reason="needs the parity fixtures beside the checkout",
)
def test_labels_score_as_the_detections_they_are(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    session, model = open_session(MODEL, description=PRESETS["yolox"]), parent_of(MODEL)
    truth = open_folder(IMAGES, splits=("val",)).split("val")
    truth = dataclasses.replace(truth, records=truth.records[::4])
    paths = [record.path for record in truth.records]
    out = tmp_path / "labelled"
    source = find_label_images(paths, out, CONFIG)
    report = label_images(session, source, out, model=model, config=CONFIG)
    folder = open_folder(out)
    assert folder.report.clean
    assert report.counts.images == len(truth.records)
    by_name = {record.file_name: record for record in folder.split("train").records}
    class_of = match_classes(folder.split("train").class_names, truth.class_names)
    found = [by_name[path.name] for path in paths]
    labels = [Detections(r.boxes_xyxy, r.scores, class_of[r.classes]) for r in found]
    figures = coco_figures(truth.records, truth.class_names, labels)
    scored = score_split(session, truth, model=model, data="coco_mini")
    assert figures.ap50 == pytest.approx(scored.ap50, abs=0.002)
    assert figures.ap == pytest.approx(scored.ap, abs=0.002)
