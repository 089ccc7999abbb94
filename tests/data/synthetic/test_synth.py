from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detkit.core.errors import UsageError
from detkit.data.coco.folder import open_folder
from detkit.data.synthetic.scene import MIN_SIDE, SHAPES, draw_scene, visible_boxes
from detkit.data.synthetic.synth import draw_images, synthesize


def content(root: Path) -> dict[str, bytes]:
    files = (path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def test_same_arguments_give_the_same_bytes(tmp_path: Path) -> None:
    counts = {"train": 2, "val": 1}
    first = content(synthesize(tmp_path / "a", images=counts, size=48, seed=1))
    assert content(synthesize(tmp_path / "b", images=counts, size=48, seed=1)) == first
    other = content(synthesize(tmp_path / "c", images=counts, size=48, seed=2))
    assert other.keys() == first.keys()
    assert not any(other[name] == first[name] for name in first)


def test_drawn_folder_is_clean(shapes: Path) -> None:
    folder = open_folder(shapes)
    assert folder.report.clean
    assert folder.report.faults == ()
    assert folder.report.class_names == tuple(SHAPES)
    assert [split.images for split in folder.report.splits] == [11, 5]


def test_a_image_does_not_depend_on_how_many_there_are(tmp_path: Path) -> None:
    few = content(synthesize(tmp_path / "a", images={"train": 1}, size=48))
    many = content(synthesize(tmp_path / "b", images={"train": 3}, size=48))
    assert many["images/train/000001.jpg"] == few["images/train/000001.jpg"]


def test_boxes_lie_within_the_scene() -> None:
    for seed in range(20):
        scene = draw_scene(np.random.default_rng(seed), 96)
        boxes = scene.boxes_xyxy
        assert (boxes >= 0).all()
        assert (boxes <= 96).all()
        assert ((boxes[:, 2:] - boxes[:, :2]) >= MIN_SIDE).all()
        assert len(boxes) == len(scene.classes)


def test_boxes_hold_what_later_shapes_leave_visible() -> None:
    owner = np.full((40, 60), -1)
    owner[10:30, 20:50] = 0  # 600 pixels
    owner[10:30, 42:58] = 1
    boxes, classes = visible_boxes(owner, [(3, 600), (5, 320)])
    assert boxes.tolist() == [[10, 5, 21, 15], [21, 5, 29, 15]]
    assert classes.tolist() == [3, 5]


def test_shapes_mostly_hidden_or_tiny_get_no_box() -> None:
    owner = np.full((40, 60), -1)
    owner[0:20, 0:20] = 0  # 400 pixels of 1100
    owner[30:36, 30:36] = 1  # 3 pixels a side once halved
    boxes, classes = visible_boxes(owner, [(0, 1100), (1, 36)])
    assert boxes.shape == (0, 4)
    assert classes.shape == (0,)


@pytest.mark.parametrize("classes", [1, 3])
def test_fewer_classes_are_the_first_ones(tmp_path: Path, classes: int) -> None:
    out = synthesize(tmp_path / "a", images={"train": 4}, size=48, classes=classes)
    assert open_folder(out).report.class_names == tuple(SHAPES)[:classes]


def test_synthetic_images_are_the_same_at_every_call() -> None:
    for one, two in zip(draw_images(2, size=40), draw_images(2, size=40), strict=True):
        assert one.shape == (40, 40, 3)
        assert np.array_equal(one, two)


@pytest.mark.parametrize(
    "wrong", [{"size": 8}, {"classes": 0}, {"classes": 99}, {"seed": -1}, {"images": {"train": -1}}]
)
def test_numbers_out_of_range_are_refused(tmp_path: Path, wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        synthesize(tmp_path / "a", **wrong)  # type: ignore[arg-type]
    assert not (tmp_path / "a").exists()


def test_a_filled_folder_is_refused_unless_forced(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(UsageError, match="already exists"):
        synthesize(tmp_path, images={"train": 1}, size=48)
    synthesize(tmp_path, images={"train": 1}, size=48, force=True)
    assert (tmp_path / "note.txt").read_text() == "mine"
    with Image.open(tmp_path / "images" / "train" / "000001.jpg") as image:
        assert image.size == (48, 48)
