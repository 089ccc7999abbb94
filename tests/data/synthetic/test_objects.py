"""Drawn scenes of many classes, to pretrain on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from detkit.core.errors import UsageError
from detkit.data.coco.folder import open_folder
from detkit.data.synthetic.objects import (
    MIN_SIDE,
    NUM_KINDS,
    PATTERNS,
    draw_object,
    draw_objects,
    make_kind,
)
from detkit.data.synthetic.synth import synthesize


def test_boxes_lie_within_the_scene() -> None:
    crowded = 0
    for seed in range(30):
        scene = draw_objects(np.random.default_rng(seed), 128)
        boxes = scene.boxes_xyxy
        assert scene.image_hwc.shape == (128, 128, 3)
        assert scene.image_hwc.dtype == np.uint8
        assert (boxes >= 0).all()
        assert (boxes <= 128).all()
        assert (boxes[:, 2:] - boxes[:, :2] >= MIN_SIDE).all()
        assert boxes.shape == (len(scene.classes), 4)
        assert ((scene.classes >= 0) & (scene.classes < NUM_KINDS)).all()
        crowded += len(boxes) >= 8
    assert 3 <= crowded <= 27


def test_an_object_fills_its_frame_and_no_more() -> None:
    for number in range(NUM_KINDS):
        alpha, surface = draw_object(np.random.default_rng(number), make_kind(number), 40.0)
        assert surface.shape == (*alpha.shape, 3)
        assert max(alpha.shape) in (40, 41)
        solid = alpha > 0.5
        rows, columns = np.flatnonzero(solid.any(axis=1)), np.flatnonzero(solid.any(axis=0))
        assert rows[0] <= 2
        assert rows[-1] >= alpha.shape[0] - 3
        assert columns[0] <= 2
        assert columns[-1] >= alpha.shape[1] - 3
        assert np.isfinite(surface).all()


def test_objects_of_a_class_are_alike_and_classes_differ() -> None:
    kinds = [make_kind(number) for number in range(NUM_KINDS)]
    assert make_kind(3) is kinds[3]
    assert {kind.pattern for kind in kinds} == set(PATTERNS)
    assert len({kind.palette.tobytes() for kind in kinds}) == NUM_KINDS
    one, two = (draw_object(np.random.default_rng(s), kinds[3], 30.0)[1] for s in (0, 1))
    assert one.shape != two.shape or not np.array_equal(one, two)


def test_a_folder_of_objects_is_clean_and_reproducible(tmp_path: Path) -> None:
    made = [
        synthesize(tmp_path / name, images={"train": 3, "val": 1}, size=64, kind="objects", seed=4)
        for name in ("a", "b")
    ]
    folder = open_folder(made[0])
    assert folder.report.clean
    assert len(folder.report.class_names) == NUM_KINDS
    files = sorted(path.relative_to(made[0]) for path in made[0].rglob("*") if path.is_file())
    assert all((made[0] / f).read_bytes() == (made[1] / f).read_bytes() for f in files)


def test_kinds_and_classes_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown 'object'"):
        synthesize(tmp_path / "a", kind="object")
    with pytest.raises(UsageError, match=r"within 1\.\.60"):
        synthesize(tmp_path / "a", kind="objects", classes=61)
