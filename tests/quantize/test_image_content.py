from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detkit.core.errors import DataError
from detkit.data.coco.split_reader import ImageRecord
from detkit.quantize.image_content import ImageContent
from detkit.spec.preprocess import Preprocess

NATIVE = Preprocess(size=(64, 64), fit=(64, 64))


def records(
    folder: Path, images: Sequence[np.ndarray], *, boxes: Sequence[int] = ()
) -> list[ImageRecord]:
    """Writes images; each has one box, or as many as `boxes` says."""
    found = []
    for number, pixels in enumerate(images):
        path = folder / f"{number}.png"
        Image.fromarray(pixels).save(path)
        count = boxes[number] if boxes else 1
        found.append(
            ImageRecord(
                image_id=number,
                path=path,
                file_name=path.name,
                width=pixels.shape[1],
                height=pixels.shape[0],
                boxes_xyxy=np.tile(np.array([2, 2, 20, 20], np.float32), (count, 1)),
                classes=np.zeros(count, np.int64),
                crowd=np.zeros(count, bool),
                area=np.full(count, 324.0),
                scores=np.ones(count, np.float32),
            )
        )
    return found


def warnings(
    folder: Path,
    images: Sequence[np.ndarray],
    preprocess: Preprocess = NATIVE,
    boxes: Sequence[int] = (),
) -> list[str]:
    content, found = ImageContent(preprocess), records(folder, images, boxes=boxes)
    assert sum(len(batch) for batch in content.load(found, 4)) == len(images)
    return content.warnings()


def scene(seed: int) -> np.ndarray:
    """Sixteen patches of colour, wider than high, so that it is padded."""
    patches = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    return patches.repeat(8, axis=0).repeat(16, axis=1)


BLACK = np.zeros((32, 64, 3), np.uint8)


def test_different_scenes_are_calibrated_on_in_silence(tmp_path: Path) -> None:
    assert warnings(tmp_path, [scene(seed) for seed in range(8)]) == []


@pytest.mark.parametrize("preprocess", [NATIVE, Preprocess(size=(64, 64), fit=(64, 64), scale=1.0)])
def test_images_of_one_colour_are_counted(tmp_path: Path, preprocess: Preprocess) -> None:
    images = [BLACK, *(scene(seed) for seed in range(9)), np.full_like(BLACK, 255)]
    (text,) = warnings(tmp_path, images, preprocess)
    assert text.startswith("2 of 11 calibration images are of one colour (0.png, ...)")


def test_images_of_one_colour_alone_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="all 3 calibration images are of one colour"):
        warnings(tmp_path, [BLACK] * 3)


def test_copies_of_one_scene_and_few_images_are_told(tmp_path: Path) -> None:
    assert "12 calibration images show 1 different" in warnings(tmp_path, [scene(0)] * 12)[0]
    assert "from 1 different images" in warnings(tmp_path, [scene(0)])[0]


def test_images_without_boxes_are_told_where_they_are_most(tmp_path: Path) -> None:
    scenes = [scene(seed) for seed in range(8)]
    assert warnings(tmp_path, scenes, boxes=[1, 0] * 4) == []
    (text,) = warnings(tmp_path, scenes, boxes=[2, 0, 1, 0, 0, 0, 0, 1])
    assert text.startswith("5 of 8 calibration images have no boxes")
