"""What a teacher adds: labels by its boxes, or a loss by its raw outputs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from detkit.config import DistillConfig, TrainConfig
from detkit.core.boxes import Detections
from detkit.core.errors import DataError, UsageError
from detkit.evaluation.evaluate import detect
from detkit.nn.checkpoint import new_detector, save_checkpoint
from detkit.nn.detector import RawOutputs, build_detector, fuse
from detkit.spec.arch import trainable
from detkit.spec.zoo import ZOO, with_task
from detkit.train import teacher
from detkit.train.distill import Distillation
from detkit.train.setup import build_setup
from detkit.train.teacher import common_classes, with_soft_labels


@pytest.fixture
def unlabelled(cell_folder: Path) -> Path:
    """The images of `cell_folder` as train and val, without any box."""
    path = cell_folder / "annotations" / "instances_val.json"
    document = json.loads(path.read_text())
    for split in ("train", "val"):
        bare = json.dumps({**document, "annotations": []})
        (cell_folder / "annotations" / f"instances_{split}.json").write_text(bare)
    return cell_folder


def asked(config: TrainConfig, data: Path, by: Path, **changes: Any) -> TrainConfig:
    return dataclasses.replace(config, data=str(data), teacher=str(by), **changes)


def taught_by(config: TrainConfig, by: Path, **weights: float) -> TrainConfig:
    return dataclasses.replace(config, teacher=str(by), distill=DistillConfig(**weights))


# --- by boxes ------------------------------------------------------------------------------------


def test_a_teacher_labels_a_folder_without_labels(
    config: TrainConfig, cell_model: Callable[..., Path], unlabelled: Path
) -> None:
    setup = build_setup(asked(config, unlabelled, cell_model()))
    by_name = {record.file_name: record for record in setup.train.records}
    record = by_name["a.png"]
    assert record.boxes_xyxy.tolist() == [[0, 0, 32, 32], [32, 32, 64, 64]]
    assert record.classes.tolist() == [0, 1]
    assert record.scores == pytest.approx([1.0, 0.8039], abs=1e-3)
    assert len(by_name["d.png"].classes) == 0
    assert [len(r.classes) for r in setup.val.records] == [len(r.classes) for r in by_name.values()]
    assert any("5 boxes of score 0.3 and above as labels of 'train'" in n for n in setup.notes)
    assert any("val split has no labels" in note for note in setup.notes)
    assert "cells.onnx does not say its licence" in setup.notes[0]


def test_only_boxes_of_the_asked_score_become_labels(
    config: TrainConfig, cell_model: Callable[..., Path], unlabelled: Path
) -> None:
    sure = asked(config, unlabelled, cell_model(), distill=DistillConfig(score=0.9))
    setup = build_setup(sure)
    assert {int(label) for r in setup.train.records for label in r.classes} == {0}


def test_another_tools_teacher_needs_to_say_what_it_gives(
    config: TrainConfig, described_graph: Callable[..., Path], unlabelled: Path, tmp_path: Path
) -> None:
    path = described_graph("yolov8")
    names = tmp_path / "names.json"
    names.write_text('{"preset": "yolov8", "class_names": ["green", "cow"]}')
    setup = build_setup(asked(config, unlabelled, path, teacher_outputs=str(names)))
    labels = [record.classes.tolist() for record in setup.train.records]
    assert labels == [[1], [], [1, 1], []]  # what it calls green are the red cells
    names.write_text('{"preset": "yolov8", "class_names": ["cat", "cow"]}')
    with pytest.raises(UsageError, match="knows none of the classes, only cat, cow"):
        build_setup(asked(config, unlabelled, path, teacher_outputs=str(names)))


def test_without_labels_and_teacher_there_is_nothing_to_learn(
    config: TrainConfig, unlabelled: Path
) -> None:
    with pytest.raises(DataError, match="no boxes to learn from"):
        build_setup(dataclasses.replace(config, data=str(unlabelled)))


def test_boxes_are_remembered_until_teacher_or_image_change(
    config: TrainConfig,
    cell_model: Callable[..., Path],
    unlabelled: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked_at: list[int] = []
    plain = detect

    def counted(session: Any, records: Any, **options: Any) -> list[Detections]:
        looked_at.append(len(records))
        return plain(session, records, **options)

    monkeypatch.setattr(teacher, "detect", counted)
    first = build_setup(asked(config, unlabelled, cell_model()))
    again = build_setup(asked(config, unlabelled, cell_model()))
    assert looked_at == [4, 0, 0, 0]  # val shows the same images as train
    for one, two in zip(first.train.records, again.train.records, strict=True):
        assert np.array_equal(one.scores, two.scores)
        assert np.array_equal(one.boxes_xyxy, two.boxes_xyxy)
    image = unlabelled / "images" / "a.png"
    image.write_bytes((unlabelled / "images" / "b.png").read_bytes())
    build_setup(asked(config, unlabelled, cell_model()))
    assert looked_at[4:] == [1, 0]
    build_setup(asked(config, unlabelled, cell_model("other.onnx", score_factor=1.9)))
    assert looked_at[6:] == [4, 0]


def test_boxes_are_drawn_again_where_what_they_depend_on_changed(
    config: TrainConfig,
    described_graph: Callable[..., Path],
    unlabelled: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path, about = described_graph("yolov8"), tmp_path / "about.json"
    named = {"preset": "yolov8", "class_names": ["red", "green"]}

    def boxes() -> int:
        setup = build_setup(asked(config, unlabelled, path, teacher_outputs=str(about)))
        return sum(len(record.classes) for record in setup.train.records)

    about.write_text(json.dumps(named))
    assert boxes() == 5
    about.write_text(json.dumps({**named, "outputs": {"needs_nms": False}}))
    assert boxes() != 5  # the same file, which means something else
    about.write_text(json.dumps(named))
    (cache,) = (tmp_path / "cache").glob("detkit/teachers/*.json")
    plain = json.loads(cache.read_text())
    for damaged in ("?", [[0, 1]], [[7, 0.9, 0, 0, 9, 9]], None):
        plain["files"] = dict.fromkeys(plain["files"], damaged)
        cache.write_text(json.dumps(plain))
        assert boxes() == 5


def test_what_is_labelled_is_taught_too_where_another_split_is_not(
    config: TrainConfig, cell_model: Callable[..., Path], cell_folder: Path
) -> None:
    path = cell_folder / "annotations" / "instances_val.json"
    document = json.loads(path.read_text())
    one = [a for a in document["annotations"] if a["image_id"] == 1]
    for split, boxes in (("train", one), ("val", [])):
        text = json.dumps({**document, "annotations": boxes})
        (cell_folder / "annotations" / f"instances_{split}.json").write_text(text)
    setup = build_setup(asked(config, cell_folder, cell_model()))
    assert sum(len(record.classes) for record in setup.train.records) == 5


def test_soft_labels_say_nothing_of_what_is_labelled(make_record: Callable[..., Any]) -> None:
    record = make_record([[0, 0, 10, 10]], [0])
    boxes = np.array([[0, 0, 10, 9], [0, 0, 10, 9], [50, 50, 60, 60]], np.float32)
    found = Detections(boxes, np.array([0.9, 0.8, 0.7], np.float32), np.array([0, 1, 0]))
    taught = with_soft_labels(record, found)
    assert taught.classes.tolist() == [0, 1, 0]
    assert taught.scores == pytest.approx([1.0, 0.8, 0.7])
    assert taught.area.tolist() == [100, 90, 100]
    assert not taught.crowd.any()
    in_part = dataclasses.replace(record, known=np.array([True, False]))
    assert with_soft_labels(in_part, found).classes.tolist() == [0, 1]


# --- dense ---------------------------------------------------------------------------------------


@pytest.fixture
def dense_teacher(config: TrainConfig, tmp_path: Path) -> Callable[..., Path]:
    """A checkpoint of yolo-nas-n, untrained, in training or deployed form."""

    def write(names: tuple[str, ...], *, deployed: bool = False) -> Path:
        setup = build_setup(config)
        model = new_detector(with_task(ZOO["yolo-nas-n"], len(names), (64, 64)), 5)
        manifest = dataclasses.replace(
            setup.manifest(config, {}), arch=model.spec, class_names=names
        )
        path = tmp_path / "teacher.safetensors"
        if deployed:
            manifest = dataclasses.replace(manifest, form="deployed")
        save_checkpoint(path, fuse(model) if deployed else model, manifest)
        return path

    return write


@pytest.fixture
def yolox_teacher(config: TrainConfig, tmp_path: Path) -> Callable[..., Path]:
    """A checkpoint of yolox-nano with its own head, untrained."""

    def write(names: tuple[str, ...]) -> Path:
        model = new_detector(with_task(ZOO["yolox-nano"], len(names), (64, 64)), 5)
        manifest = build_setup(config).manifest(config, {})
        path = tmp_path / "yolox.safetensors"
        manifest = dataclasses.replace(manifest, arch=model.spec, class_names=names)
        save_checkpoint(path, model, manifest)
        return path

    return write


@pytest.mark.parametrize("deployed", [False, True])
def test_a_checkpoint_teaches_by_its_outputs(
    config: TrainConfig, dense_teacher: Callable[..., Path], deployed: bool
) -> None:
    names = build_setup(config).train.class_names
    by = dense_teacher(("cow", names[2], names[0]), deployed=deployed)
    setup = build_setup(taught_by(config, by, features=1))
    assert setup.teacher is not None
    assert setup.teacher.classes == ([0, 2], [2, 1])
    assert any("features, scores and distances of 2 of 6 classes" in n for n in setup.notes)
    assert setup.parents == ()
    loss = setup.teacher.as_loss(config)
    images = torch.rand(2, 3, 64, 64)
    loss(images, setup.model.outputs(images)).backward()
    bias = setup.model.get_parameter("heads.head1.cls_pred.bias").grad
    assert bias is not None
    assert (bias[[0, 2]] != 0).all()
    assert (bias[[1, 3, 4, 5]] == 0).all()


@torch.no_grad()
def test_chosen_classes_are_compared_by_name() -> None:
    network = new_detector(with_task(ZOO["yolo-nas-p"], 3, (64, 64)), 0).eval()
    images = torch.rand(1, 3, 64, 64)
    logits, distances = network(images)
    logits = logits + torch.tensor([2.0, 0.0, -2.0])  # classes that differ, as those of use do
    network.heads.register_forward_hook(lambda _module, _images, _out: (logits, distances))
    turned = RawOutputs(logits[..., [2, 0, 1]], distances)
    loss = Distillation(network, cls=1.0, box=1.0, classes=([0, 1, 2], [2, 0, 1]))
    assert float(loss(images, turned)) == pytest.approx(0, abs=1e-4)
    assert float(loss(images, RawOutputs(logits, distances))) > 0.1
    assert common_classes(("a", "b"), ("b", "c", "a")) == ([0, 1], [2, 0])


def test_a_dense_teacher_labels_what_has_no_labels(
    config: TrainConfig, dense_teacher: Callable[..., Path], unlabelled: Path
) -> None:
    by = dense_teacher(("red", "green"))
    with pytest.raises(DataError, match="no boxes to learn from"):  # untrained, it is never sure
        build_setup(asked(config, unlabelled, by))


def test_only_a_head_of_the_same_form_has_outputs_to_compare() -> None:
    yolox = build_detector(ZOO["yolox-nano"], "training")
    student = build_detector(ZOO["yolo-nas-n"], "training")
    assert not teacher.same_outputs(yolox, student)
    assert teacher.same_outputs(build_detector(trainable(yolox.spec), "training"), student)


def test_a_checkpoint_of_another_form_teaches_by_features_and_boxes(
    config: TrainConfig, yolox_teacher: Callable[..., Path]
) -> None:
    names = build_setup(config).train.class_names
    by = yolox_teacher(("cow", names[0]))
    asked_for = taught_by(config, by, features=1)
    setup = build_setup(asked_for)
    assert setup.teacher is not None
    assert not setup.teacher.by_outputs
    assert [note.split(": ")[1] for note in setup.notes if note.startswith("teacher")] == [
        "features",
        "0 boxes of score 0.3 and above as labels of 'train'",
    ]
    alone = taught_by(config, by, features=1, score=1)
    assert [n for n in build_setup(alone).notes if n.startswith("teacher")] == [
        "teacher yolox.safetensors: features only"
    ]
    images = torch.rand(2, 3, 64, 64)
    setup.teacher.as_loss(asked_for)(images, setup.model.outputs(images)).backward()
    moved = {name for name, p in setup.model.named_parameters() if p.grad is not None}
    assert any(name.startswith("neck.") for name in moved)
    assert not any(name.startswith("heads.") for name in moved)


def test_features_need_no_class_of_the_same_name(
    config: TrainConfig, yolox_teacher: Callable[..., Path]
) -> None:
    by = yolox_teacher(("cat", "cow"))
    setup = build_setup(taught_by(config, by, features=1))
    assert any("features only, as it has none of the classes" in note for note in setup.notes)
    with pytest.raises(UsageError, match="knows none of the classes, only cat, cow"):
        build_setup(taught_by(config, by))
