"""Both engines against each other on random sets, and whole files scored end to end."""

from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from detkit.artifact.artifact import Manifest, parent_of
from detkit.core.boxes import EVAL_NMS, Detections
from detkit.core.errors import ArtifactError, DataError, UsageError
from detkit.core.serialization import from_json, to_json
from detkit.data.coco.folder import open_folder
from detkit.engines.opening import open_session
from detkit.evaluation.evaluate import SCORERS, coco_figures, detect, score_split
from detkit.report import EvalReport
from detkit.runtime.graph_session import GraphSession

NAMES = ("cat", "dog", "yak")
FIGURES = (
    *("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large"),
    *("ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large"),
)


@pytest.mark.parametrize("seed", range(6))
def test_both_engines_give_equal_figures_on_random_sets(
    random_set: Callable[..., Any], seed: int
) -> None:
    records, found = random_set(seed, num_classes=3)
    fast, slow = (coco_figures(records, NAMES, found, scorer=scorer) for scorer in SCORERS)
    for name in FIGURES:
        assert getattr(fast, name) == pytest.approx(getattr(slow, name), abs=1e-12)
    for name in NAMES:
        assert fast.per_class[name].ap == pytest.approx(slow.per_class[name].ap, abs=1e-12)
        assert fast.per_class[name].ap50 == pytest.approx(slow.per_class[name].ap50, abs=1e-12)
    assert fast.ap is not None
    assert fast.ap50 is not None
    assert 0 < fast.ap < fast.ap50 < 1
    assert (fast.engine, slow.engine) == ("fast", "pycocotools")


def test_the_figures_are_those_pycocotools_sums_up_itself(random_set: Callable[..., Any]) -> None:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    records, found = random_set(1, num_classes=3)
    truth: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for image, (record, d) in enumerate(zip(records, found, strict=True), 1):
        for box, label, area, crowd in zip(
            record.boxes_xyxy.astype(float), record.classes, record.area, record.crowd, strict=True
        ):
            xywh = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
            entry = {"image_id": image, "category_id": int(label) + 1, "bbox": xywh}
            truth.append({**entry, "id": len(truth) + 1, "area": area, "iscrowd": int(crowd)})
        for box, label, score in zip(
            d.boxes_xyxy.astype(float), d.classes, d.scores.tolist(), strict=True
        ):
            xywh = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
            results.append(
                {"image_id": image, "category_id": int(label) + 1, "bbox": xywh, "score": score}
            )
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": [{"id": i + 1} for i in range(len(records))],
            "categories": [{"id": k + 1, "name": name} for k, name in enumerate(NAMES)],
            "annotations": truth,
        }
        coco.createIndex()
        scorer = COCOeval(coco, coco.loadRes(results), "bbox")
        scorer.evaluate()
        scorer.accumulate()
        scorer.summarize()
    figures = coco_figures(records, NAMES, found)
    assert [getattr(figures, name) for name in FIGURES] == pytest.approx(
        scorer.stats.tolist(), abs=1e-12
    )


@pytest.mark.parametrize("scorer", SCORERS)
def test_ground_truth_as_detections_scores_one_and_shifted_a_known_share(
    make_record: Callable[..., Any], scorer: str
) -> None:
    boxes = [[0, 0, 100, 100], [200, 0, 300, 100]]
    record = make_record(boxes, [0, 1])
    shifted = np.array(boxes, np.float32) + [[0, 0, 0, 0], [25, 0, 25, 0]]  # IoU 1 and 0.6
    for found, expected in ((boxes, 1.0), (shifted, (10 + 3) / 20)):
        detections = Detections(np.array(found, np.float32), np.ones(2, np.float32), record.classes)
        figures = coco_figures([record], ("cat", "dog"), [detections], scorer=scorer)
        assert figures.ap == pytest.approx(expected)
        assert figures.ap50 == pytest.approx(1)
        assert figures.ap_small is None  # nothing is small here, which is not a zero


@pytest.mark.parametrize("scorer", SCORERS)
def test_no_detections_score_zero_and_have_no_precision(
    make_record: Callable[..., Any], scorer: str
) -> None:
    record = make_record([[0, 0, 10, 10]], [0])
    nothing = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, int))
    figures = coco_figures([record], ("cat", "dog"), [nothing], scorer=scorer)
    assert (figures.ap, figures.recall, figures.f1) == (0, 0, 0)
    assert figures.precision is None
    assert figures.confidence is None
    assert figures.per_class["dog"].ap is None
    assert figures.per_class["dog"].recall is None


def test_detections_of_unlabelled_classes_are_not_judged(make_record: Callable[..., Any]) -> None:
    record = make_record([[0, 0, 10, 10]], [0])
    boxes = np.array([[50, 50, 60, 60], [0, 0, 10, 10]], np.float32)
    found = Detections(boxes, np.array([0.9, 0.8], np.float32), np.array([0, 0]))
    other = Detections(boxes, found.scores, np.array([1, 0]))
    both = [record, make_record([[0, 0, 9, 9]], [1])], [other, other]
    assert coco_figures(both[0], NAMES, both[1]).per_class["dog"].ap == pytest.approx(0.0)
    in_part = [dataclasses.replace(record, known=np.array([True, False, True])), both[0][1]]
    before, after = coco_figures(both[0], NAMES, both[1]), coco_figures(in_part, NAMES, both[1])
    assert after.detections == before.detections - 1
    assert after.per_class["cat"] == before.per_class["cat"]


@pytest.mark.parametrize("scorer", SCORERS)
def test_images_without_any_ground_truth_measure_nothing_and_do_not_crash(
    make_record: Callable[..., Any], scorer: str
) -> None:
    record = make_record(np.zeros((0, 4)), [])
    found = Detections(np.ones((1, 4), np.float32), np.ones(1, np.float32), np.zeros(1, int))
    figures = coco_figures([record, record], ("cat",), [found, found], scorer=scorer)
    assert figures.ap is None
    assert figures.precision is None
    assert (figures.images, figures.boxes, figures.detections) == (2, 0, 2)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["boxes", "scores"])
def test_detections_that_are_not_finite_are_refused(
    make_record: Callable[..., Any], bad: float, where: str
) -> None:
    record = make_record([[0, 0, 10, 10]], [0])
    boxes, scores = np.array([[0, 0, 10, 10]], np.float32), np.ones(1, np.float32)
    (boxes if where == "boxes" else scores).flat[0] = bad
    with pytest.raises(ArtifactError, match="NaN or Inf"):
        coco_figures([record], ("cat",), [Detections(boxes, scores, np.zeros(1, int))])


def test_an_unknown_scorer_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="unknown scorer 'coco'"):
        coco_figures([], ("cat",), [], scorer="coco")


# --- whole files ---------------------------------------------------------------------------------


def score(path: Path, folder: Path, **options: Any) -> EvalReport:
    split = open_folder(folder, splits=("val",)).split("val")
    return score_split(open_session(path), split, model=parent_of(path), data="coco", **options)


@pytest.mark.parametrize("form", [{}, {"uint8": True}, {"nms": True}])
def test_every_form_of_export_is_scored_alike(
    cell_model: Callable[..., Path], cell_folder: Path, form: dict[str, bool]
) -> None:
    report = score(cell_model(**form), cell_folder)
    assert (report.ap, report.ap50, report.precision, report.recall) == (1, 1, 1, 1)
    assert (report.images, report.boxes, report.detections) == (4, 5, 5)
    assert report.per_class["red"].boxes == 3


def test_the_order_of_the_models_classes_does_not_matter(
    cell_model: Callable[..., Path], cell_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = cell_model(class_names=("green", "red"))  # the model calls red cells green
    report = score(path, cell_folder)
    assert report.ap == 0
    assert report.precision == 0
    assert capsys.readouterr().out == ""


def test_the_report_says_what_was_measured_and_is_the_same_every_time(
    cell_model: Callable[..., Path], cell_folder: Path
) -> None:
    path = cell_model()
    report = score(path, cell_folder, batch_size=3)
    assert (report.model, report.model_sha256) == (path.name, parent_of(path).sha256)
    assert (report.runtime, report.split, report.data) == ("onnxruntime", "val", "coco")
    assert (report.score_threshold, report.nms_iou, report.max_detections) == (0.01, 0.7, 300)
    assert report == score(path, cell_folder, batch_size=1)
    assert from_json(EvalReport, to_json(report)) == report
    in_graph = score(cell_model("nms.onnx", nms=True), cell_folder)
    assert in_graph.score_threshold is None
    assert in_graph.nms_iou is None


def test_progress_counts_every_image_once(
    cell_model: Callable[..., Path], cell_folder: Path
) -> None:
    done: list[int] = []
    score(cell_model(), cell_folder, batch_size=3, on_progress=done.append)
    assert done == [3, 1]


def test_detections_are_in_image_pixels_and_cut_to_the_image(
    cell_model: Callable[..., Path], cell_folder: Path
) -> None:
    session = open_session(cell_model())
    record = open_folder(cell_folder).split("val").records[0]
    assert isinstance(session, GraphSession)
    assert isinstance(session.manifest, Manifest)
    session.manifest = dataclasses.replace(
        session.manifest, preprocess=dataclasses.replace(session.manifest.preprocess, fit=(32, 32))
    )
    # the 64x64 image is now seen at half size in the middle: its cells are where no anchor is
    (found,) = detect(session, [record], nms=dataclasses.replace(EVAL_NMS, score_threshold=-1))
    assert found.boxes_xyxy.min() == 0
    assert found.boxes_xyxy.max() == 64
    assert [32, 32, 64, 64] in found.boxes_xyxy.tolist()


def test_a_model_that_gives_nan_is_refused(
    cell_model: Callable[..., Path], cell_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = open_session(cell_model())

    def run(images: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], ...]:
        count = len(images)
        return np.zeros((count, 4, 4), np.float32), np.full((count, 4, 2), np.nan, np.float32)

    monkeypatch.setattr(session, "run", run)
    with pytest.raises(ArtifactError, match="NaN or Inf"):
        detect(session, open_folder(cell_folder).split("val").records)


def test_a_split_without_images_is_an_error(
    cell_model: Callable[..., Path], cell_folder: Path
) -> None:
    path = cell_model()
    split = dataclasses.replace(open_folder(cell_folder).split("val"), records=())
    with pytest.raises(DataError, match="no images"):
        score_split(open_session(path), split, model=parent_of(path), data="coco")
