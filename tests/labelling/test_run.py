"""A whole folder, labelled by the detector whose answers are known (see `fixtures.cells`)."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detkit.artifact.artifact import parent_of
from detkit.artifact.outputs import MARKER
from detkit.config import LabelConfig
from detkit.core.errors import DataError, DetkitError, UsageError
from detkit.core.serialization import from_json
from detkit.data.coco.folder import ImageRecord, inspect_folder, open_folder
from detkit.engines.opening import open_session
from detkit.labelling import run
from detkit.labelling.classes import ClassMap
from detkit.labelling.images import find_label_images
from detkit.report import LabelReport

Label = Callable[..., LabelReport]


@pytest.fixture
def label(cell_model: Callable[..., Path], tmp_path: Path) -> Label:
    """`label(SOURCE..., annotations=, class_map=, force=, model=, **settings)` into tmp/out."""

    def call(
        *sources: Path,
        annotations: Path | None = None,
        class_map: ClassMap | None = None,
        force: bool = False,
        model: Path | None = None,
        **settings: Any,
    ) -> LabelReport:
        config, out = LabelConfig(**settings), tmp_path / "out"
        path = model or cell_model()
        return run.label_images(
            open_session(path),
            find_label_images(sources, out, config, annotations=annotations),
            out,
            model=parent_of(path),
            config=config,
            class_map=class_map,
            force=force,
        )

    return call


def document(tmp_path: Path, split: str = "train") -> Any:
    return json.loads((tmp_path / "out" / "annotations" / f"instances_{split}.json").read_text())


def files_of(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def rows_of(record: ImageRecord) -> list[list[float]]:
    found: list[list[float]] = np.column_stack([record.boxes_xyxy, record.classes]).tolist()
    return found


def edit(path: Path, change: Callable[[Any], None]) -> None:
    plain = json.loads(path.read_text())
    change(plain)
    path.write_text(json.dumps(plain))


def test_labels_are_the_models_boxes_with_scores(
    label: Label, cell_folder: Path, tmp_path: Path
) -> None:
    report = label(cell_folder / "images")
    folder = open_folder(tmp_path / "out")
    assert folder.report.clean
    assert folder.report.faults == ()
    truth = {r.file_name: r for r in open_folder(cell_folder).split("val").records}
    for record in folder.split("train").records:
        expected = truth[record.file_name]
        assert sorted(rows_of(record)) == sorted(rows_of(expected))
    scores = {a["category_id"]: a["score"] for a in document(tmp_path)["annotations"]}
    assert scores == {1: 1, 2: pytest.approx(2 * 230 / 255 - 1, abs=1e-5)}
    assert report.counts.boxes_per_class == {"red": 3, "green": 2}
    assert report.counts.images_without_boxes == 1
    assert sum(report.counts.score_histogram) == 5
    assert report.model_sha256 == parent_of(tmp_path / "cells.onnx").sha256


def test_nothing_of_the_users_folder_is_changed(label: Label, cell_folder: Path) -> None:
    before = files_of(cell_folder)
    label(cell_folder / "images", link=True)
    label(cell_folder / "images", force=True)
    label(cell_folder, force=True)
    assert files_of(cell_folder) == before


def test_images_are_copied_or_on_demand_linked(
    label: Label, cell_folder: Path, tmp_path: Path
) -> None:
    source, target = cell_folder / "images" / "a.png", tmp_path / "out" / "images" / "a.png"
    assert label(cell_folder / "images").counts.images_linked == 0
    assert not target.samefile(source)
    assert label(cell_folder / "images", link=True, force=True).counts.images_linked == 4
    assert target.samefile(source)
    label(cell_folder / "images", force=True)  # and a link is not written through
    assert not target.samefile(source)
    assert target.read_bytes() == source.read_bytes()


def test_the_same_gives_the_same_bytes_whatever_the_batch(
    label: Label, cell_folder: Path, tmp_path: Path
) -> None:
    label(cell_folder / "images", val_share=0.3)
    first = files_of(tmp_path / "out")
    shutil.rmtree(tmp_path / "out")
    label(cell_folder / "images", val_share=0.3, batch=1)
    assert files_of(tmp_path / "out") == first
    assert {"annotations/instances_train.json", "annotations/instances_val.json"} <= set(first)


def test_a_graph_of_another_tool_that_takes_one_image_labels_too(
    label: Label, described_graph: Callable[..., Path], cell_folder: Path, tmp_path: Path
) -> None:
    from detkit.spec.onnx_presets import PRESETS

    path, config = described_graph("torchvision", "one"), LabelConfig()
    spec = dataclasses.replace(PRESETS["torchvision"], class_names=("red", "green"))
    source = find_label_images([cell_folder / "images"], tmp_path / "out", config)
    session = open_session(path, description=spec)
    report = run.label_images(session, source, tmp_path / "out", model=parent_of(path))
    assert report.counts.boxes_per_class == {"red": 3, "green": 2}
    assert report.thresholds.nms_iou is None


def test_joined_classes_are_one(label: Label, cell_folder: Path, tmp_path: Path) -> None:
    lamp = ClassMap(labels={"red": "lamp", "green": "lamp"})
    report = label(cell_folder / "images", class_map=lamp)
    assert report.counts.boxes_per_class == {"lamp": 5}
    assert report.thresholds.renamed == {"red": "lamp", "green": "lamp"}
    assert [c["name"] for c in document(tmp_path)["categories"]] == ["lamp"]


# --- with labels that exist ------------------------------------------------------------------


def test_labels_of_people_stay_as_they_are(label: Label, cell_folder: Path, tmp_path: Path) -> None:
    report = label(cell_folder)
    assert (report.counts.boxes, report.counts.human_boxes) == (0, 5)
    assert report.counts.left_to_humans == 5
    before = open_folder(cell_folder).split("val").records
    after = open_folder(tmp_path / "out").split("val").records
    for old, new in zip(before, after, strict=True):
        assert old.boxes_xyxy.tolist() == new.boxes_xyxy.tolist()
        assert (old.classes.tolist(), old.area.tolist()) == (
            new.classes.tolist(),
            new.area.tolist(),
        )
    assert all("score" not in a for a in document(tmp_path, "val")["annotations"])


def test_classes_that_people_lack_are_added(
    label: Label, cell_folder: Path, tmp_path: Path
) -> None:
    def only_red(plain: Any) -> None:
        plain["categories"] = [c for c in plain["categories"] if c["name"] == "red"]
        plain["annotations"] = [a for a in plain["annotations"] if a["category_id"] == 1]

    edit(cell_folder / "annotations" / "instances_val.json", only_red)
    report = label(cell_folder)
    assert report.class_names == ("red", "green")
    assert report.counts.human_boxes_per_class == {"red": 3, "green": 0}
    assert report.counts.boxes_per_class == {"red": 0, "green": 2}
    assert (report.counts.left_to_humans, report.thresholds.human_classes) == (3, "complete")
    assert not any("neg_category_ids" in image for image in document(tmp_path, "val")["images"])


def test_gaps_are_filled_on_demand(label: Label, cell_folder: Path) -> None:
    edit(
        cell_folder / "annotations" / "instances_val.json",
        lambda plain: plain["annotations"].pop(0),
    )
    report = label(cell_folder, human_classes="fill")
    assert (report.counts.human_boxes, report.counts.boxes) == (4, 1)
    assert (report.counts.matched_humans, report.counts.left_to_humans) == (4, 0)


def test_an_image_says_which_classes_nobody_looked_for_on_it(
    label: Label, cell_folder: Path, tmp_path: Path
) -> None:
    def one_blue_image(plain: Any) -> None:
        plain["images"] = [i for i in plain["images"] if i["file_name"] == "a.png"]
        plain["annotations"] = [a for a in plain["annotations"] if a["image_id"] == 1]
        plain["categories"] = [{"id": 1, "name": "blue"}, {"id": 2, "name": "green"}]

    mine = cell_folder / "annotations" / "instances_val.json"
    edit(mine, one_blue_image)
    report = label(cell_folder / "images", annotations=mine)
    assert report.class_names == ("blue", "green", "red")
    found = {i["file_name"]: i.get("neg_category_ids") for i in document(tmp_path)["images"]}
    # a person looked for blue and green, the model for green and red
    assert found == {"a.png": None, "b.png": [3], "d.png": [2, 3], "deep/c.png": [2]}


def test_scores_and_gaps_of_labels_that_exist_stay(
    label: Label, cell_folder: Path, tmp_path: Path
) -> None:
    """A folder that was labelled in part, by people or by another model."""

    def in_part(plain: Any) -> None:
        plain["annotations"][0]["score"] = 0.25
        plain["categories"].append({"id": 3, "name": "blue"})
        plain["images"][0]["neg_category_ids"] = []

    edit(cell_folder / "annotations" / "instances_val.json", in_part)
    label(cell_folder)
    before = open_folder(cell_folder).split("val").records
    after = open_folder(tmp_path / "out").split("val").records
    assert after[0].scores.tolist() == before[0].scores.tolist() == [0.25, 1]
    assert after[0].known is not None
    assert after[0].known.tolist() == [True, True, False]  # the model knows no blue, either
    assert [record.known for record in after[1:]] == [None] * 3


def test_a_class_with_near_misses_is_not_said_to_be_complete(
    label: Label, cell_folder: Path, tmp_path: Path
) -> None:
    label(cell_folder / "images", score=0.9)  # green ones score 0.8
    truth = {r.file_name: r for r in open_folder(cell_folder).split("val").records}
    names = open_folder(tmp_path / "out").split("train").class_names
    for record in open_folder(tmp_path / "out").split("train").records:
        shows_green = 1 in truth[record.file_name].classes
        assert (record.known is not None) == shows_green
        if record.known is not None:
            assert dict(zip(names, record.known.tolist(), strict=True)) == {
                "red": True,
                "green": False,
            }


# --- what cannot be used -----------------------------------------------------------------------


def test_equal_images_are_labelled_once_and_those_of_people_are_kept(
    label: Label, cell_folder: Path
) -> None:
    images = cell_folder / "images"
    shutil.copy(images / "b.png", images / "0.png")
    report = label(images)
    assert report.duplicates == {"b.png": "0.png"}
    assert report.counts.images == 4
    mine = cell_folder / "annotations" / "instances_val.json"
    report = label(images, annotations=mine, force=True)
    assert report.duplicates == {"0.png": "b.png"}


def test_images_that_cannot_be_read_are_listed(label: Label, cell_folder: Path) -> None:
    images = cell_folder / "images"
    (images / "b.png").write_bytes(b"?")
    (images / os.fsdecode(b"\xff.png")).write_bytes(b"?")
    report = label(images)
    assert report.counts.images == 3
    assert len(report.skipped) == 2
    assert any("b.png: not an image" in reason for reason in report.skipped)


def test_a_listed_image_that_cannot_be_read_is_told_once(label: Label, cell_folder: Path) -> None:
    images = cell_folder / "images"
    (images / "deep" / "c.png").write_bytes(b"?")
    (images / "b.png").unlink()
    mine = cell_folder / "annotations" / "instances_val.json"
    report = label(images, annotations=mine)
    assert report.skipped == ("b.png: no such image file", "deep/c.png: image cannot be decoded")


def test_nothing_is_left_where_no_image_can_be_read(
    label: Label, cell_folder: Path, tmp_path: Path
) -> None:
    for path in (cell_folder / "images").rglob("*.png"):
        path.write_bytes(b"?")
    with pytest.raises(DataError, match=r"none of 4 images could be read: .*a\.png: not an image"):
        label(cell_folder / "images")
    assert not [*(tmp_path / "out" / "annotations").iterdir()]
    assert not from_json(LabelReport, (tmp_path / "out" / "report.json").read_text()).finished


# --- interrupted, and again --------------------------------------------------------------------


def test_an_interrupted_run_looks_like_no_coco_folder(
    label: Label, cell_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    label(cell_folder / "images", val_share=0.5)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(run, "doubt_of", interrupt)
        with pytest.raises(KeyboardInterrupt):
            label(cell_folder / "images", force=True)
    with pytest.raises(DetkitError, match="not a COCO folder"):
        inspect_folder(tmp_path / "out")
    assert label(cell_folder / "images", force=True).counts.images == 4
    assert not (tmp_path / "out" / "annotations" / "instances_val.json").exists()


def test_what_exists_is_refused_and_what_is_not_ours_even_by_force(
    label: Label, cell_folder: Path, tmp_path: Path
) -> None:
    label(cell_folder / "images")
    with pytest.raises(UsageError, match="already exists"):
        label(cell_folder / "images")
    (tmp_path / "out" / MARKER).unlink()
    before = files_of(tmp_path / "out")
    with pytest.raises(UsageError, match="which is never written to"):
        label(cell_folder / "images", force=True)
    assert files_of(tmp_path / "out") == before


def test_labels_that_somebody_corrected_are_not_overwritten_by_force(
    label: Label, cell_folder: Path, tmp_path: Path
) -> None:
    label(cell_folder / "images")
    labels = tmp_path / "out" / "annotations" / "instances_train.json"
    labels.write_text(labels.read_text().replace('"iscrowd":0', '"iscrowd":1'))
    before = files_of(tmp_path / "out")
    with pytest.raises(UsageError, match=r"instances_train.json was edited since"):
        label(cell_folder / "images", force=True)
    assert files_of(tmp_path / "out") == before


def test_labels_of_people_in_the_folder_to_be_replaced_are_left_alone(
    label: Label, cell_folder: Path, tmp_path: Path
) -> None:
    """An earlier run whose labels somebody corrected: --force is not to destroy them."""
    label(cell_folder / "images")
    out = tmp_path / "out"
    mine = out / "annotations" / "instances_train.json"
    before = files_of(out)
    with pytest.raises(UsageError, match=r"lies in .*out, which is replaced"):
        label(out, force=True)
    with pytest.raises(UsageError, match="which is replaced"):
        label(out / "images", annotations=mine, force=True)
    with pytest.raises(UsageError, match="which is replaced"):
        label(cell_folder / "images", annotations=mine, force=True)
    assert files_of(out) == before


def test_a_link_out_of_the_folder_is_not_followed(
    label: Label, cell_folder: Path, tmp_path: Path
) -> None:
    label(cell_folder / "images")
    shutil.rmtree(tmp_path / "out" / "images")
    (tmp_path / "out" / "images").symlink_to(cell_folder / "images")
    before = files_of(cell_folder)
    with pytest.raises(UsageError, match="leads out of"):
        label(cell_folder / "images", force=True)
    assert files_of(cell_folder) == before


def test_the_iou_of_a_graph_with_nms_cannot_be_changed(
    label: Label, cell_model: Callable[..., Path], cell_folder: Path
) -> None:
    model = cell_model(nms=True)
    with pytest.raises(UsageError, match="NMS in the graph"):
        label(cell_folder / "images", model=model, iou=0.5)
    assert label(cell_folder / "images", model=model).counts.boxes == 5
    one = ClassMap(labels={"red": "lamp", "green": "lamp"})  # whose boxes are suppressed again
    report = label(cell_folder / "images", model=model, class_map=one, iou=0.5, force=True)
    assert report.thresholds.nms_iou == 0.5


def test_the_report_reads_back(label: Label, cell_folder: Path, tmp_path: Path) -> None:
    report = label(cell_folder / "images")
    assert report.finished
    assert from_json(LabelReport, (tmp_path / "out" / "report.json").read_text()) == report
