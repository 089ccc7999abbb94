from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from detkit.config import AugmentConfig
from detkit.data.training.augment import augment_sample, sample_rng
from detkit.data.training.canvas import alone, draw, mosaic, paint
from detkit.data.training.transforms import (
    CELL,
    COMPLETE,
    Sample,
    blend,
    hue_rotation,
    random_affine,
    random_colour,
    warp,
    warp_boxes,
    warp_sample,
)

STILL = AugmentConfig(mosaic=0, scale=0, translate=0, flip=0, hue=0, saturation=0, brightness=0)
GRAY = 114


def noise(height: int = 24, width: int = 32, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def sample(image: np.ndarray, *boxes: tuple[float, ...]) -> Sample:
    table = np.array(boxes, np.float32).reshape(-1, 4)
    ones = np.ones(len(table), np.float32)
    return Sample(image, table, np.arange(len(table)), ones, ones)


class Source:
    """Images of noise with one bright square each, whose box is known."""

    def __init__(self, count: int, height: int = 48, width: int = 64) -> None:
        self.size, self.count = (height, width), count

    def partners(self, rng: np.random.Generator, count: int) -> list[int]:
        drawn: list[int] = rng.integers(self.count, size=count).tolist()
        return drawn

    def sample(self, index: int) -> Sample:
        image = np.zeros((*self.size, 3), np.uint8)
        image[10:30, 20:40] = 255
        one = np.ones(1, np.float32)
        return Sample(
            image, np.array([[20, 10, 40, 30]], np.float32), np.array([index % 3]), one, one
        )


# --- geometry ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["flip", "flip_vertical"])
def test_flipping_twice_is_the_identity(name: str) -> None:
    config = AugmentConfig(**{**vars(STILL), name: 1.0})
    image = noise()
    matrix = random_affine(np.random.default_rng(0), config, source=(24, 32), size=(24, 32))
    once = warp_sample(sample(image, (1, 2, 9, 13)), matrix, (24, 32), GRAY)
    axis = 1 if name == "flip" else 0
    assert np.array_equal(once.image_hwc, np.flip(image, axis))
    twice = warp_sample(once, matrix, (24, 32), GRAY)
    assert np.array_equal(twice.image_hwc, image)
    assert twice.boxes_xyxy.tolist() == [[1, 2, 9, 13]]


def test_no_change_is_no_change() -> None:
    matrix = random_affine(np.random.default_rng(0), STILL, source=(24, 32), size=(24, 32))
    assert np.allclose(matrix, [[1, 0, 0], [0, 1, 0]])
    assert np.array_equal(warp(noise(), matrix, (24, 32), GRAY), noise())


def test_smaller_source_lands_in_the_middle() -> None:
    matrix = random_affine(np.random.default_rng(0), STILL, source=(20, 32), size=(32, 32))
    image = warp(np.zeros((20, 32, 3), np.uint8), matrix, (32, 32), GRAY)
    assert (image[6:26] == 0).all()
    assert (image[:6] == GRAY).all()
    assert (image[26:] == GRAY).all()


@pytest.mark.parametrize("seed", range(6))
def test_boxes_follow_the_pixels_through_every_warp(seed: int) -> None:
    config = AugmentConfig(scale=0.4, translate=0.1, degrees=40, shear=20, flip_vertical=0.5)
    image = np.zeros((60, 80, 3), np.uint8)
    image[20:40, 30:50] = 255
    rng = np.random.default_rng(seed)
    matrix = random_affine(rng, config, source=(60, 80), size=(96, 96))
    moved = warp_sample(sample(image, (30, 20, 50, 40)), matrix, (96, 96), 0)
    rows, columns = np.nonzero(moved.image_hwc[..., 0] > 127)
    seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert np.abs(moved.boxes_xyxy[0] - seen).max() <= 1.5


def test_turned_box_is_the_envelope_of_its_corners() -> None:
    quarter = np.array([[0.0, -1, 100], [1, 0, 0]])
    assert warp_boxes(np.array([[10, 20, 30, 60]], np.float32), quarter).tolist() == [
        [40, 10, 80, 30]
    ]


@pytest.mark.parametrize(
    ("box", "kept"),
    [
        ((0, 0, 20, 20), True),
        ((-17.9, 0, 2.1, 20), True),  # 2.1 px and 10.5 % left
        ((-18.1, 0, 1.9, 20), False),  # narrower than 2 px
        ((-92, 0, 8, 20), False),  # 8 % left
        ((200, 0, 220, 20), False),
        ((5, 5, 6.5, 9), False),
    ],
)
def test_targets_too_small_or_hidden_are_dropped(box: tuple[float, ...], kept: bool) -> None:
    still = np.array([[1.0, 0, 0], [0, 1, 0]])
    moved = warp_sample(sample(noise(64, 64), box), still, (64, 64), GRAY)
    assert len(moved.boxes_xyxy) == len(moved.classes) == kept


# --- mosaic --------------------------------------------------------------------------------------


def test_mosaic_puts_four_images_around_its_centre() -> None:
    tiles = [np.full((20, 24, 3), level, np.uint8) for level in (10, 20, 30, 40)]
    made = paint(mosaic([sample(t, (2, 4, 10, 12)) for t in tiles], (30, 26), (32, 32)), GRAY)
    assert made.image_hwc.shape == (64, 64, 3)
    corners = [made.image_hwc[y, x, 0] for y in (25, 26) for x in (29, 30)]
    assert corners == [10, 20, 30, 40]
    assert made.boxes_xyxy.tolist() == [
        [8, 10, 16, 18],
        [32, 10, 40, 18],
        [8, 30, 16, 38],
        [32, 30, 40, 38],
    ]


def test_mosaic_cuts_boxes_with_their_image() -> None:
    tiles = [sample(noise(32, 32), (0, 0, 20, 32), (0, 0, 8, 8)) for _ in range(4)]
    made = paint(mosaic(tiles, (16, 40), (32, 32)), GRAY)
    first = made.boxes_xyxy[made.classes == 0][0]
    assert first.tolist() == [0, 8, 4, 40]
    assert made.shown[0] == pytest.approx(4 / 20)
    assert (made.classes == 1).sum() == 2  # the left tiles' small boxes lie beyond the canvas


def test_share_shown_counts_both_cuts() -> None:
    tiles = [sample(noise(32, 32), (0, 0, 20, 32)) for _ in range(4)]
    made = paint(mosaic(tiles, (16, 40), (32, 32)), GRAY)
    assert made.shown.tolist() == pytest.approx([4 / 20, 1, 4 / 20 * 24 / 32, 24 / 32])
    shifted = np.array([[1.0, 0, -1.9], [0, 1, 0]])
    moved = warp_sample(made, shifted, (64, 64), GRAY)
    assert moved.shown.tolist() == pytest.approx([2.1 / 20, 1, 24 / 32])


# --- drawing without a canvas ---------------------------------------------------------------------

SMOOTH = np.add.outer(np.arange(48) * 2, np.arange(64) * 2)[..., None].repeat(3, 2).astype(np.uint8)


@pytest.mark.parametrize("seed", range(12))
def test_resized_tiles_differ_from_a_warped_canvas_by_less_than_a_pixel(seed: int) -> None:
    rng = np.random.default_rng(seed)
    tiles = [sample(SMOOTH, (4, 4, 40, 44), (30, 10, 60, 30)) for _ in range(4)]
    canvas = mosaic(tiles, (int(rng.integers(20, 76)), int(rng.integers(20, 60))), (48, 64))
    config = AugmentConfig(flip_vertical=0.5)
    matrix = random_affine(rng, config, source=canvas.size, size=(48, 64))
    resized = draw(canvas, matrix, (48, 64), GRAY)
    warped = warp_sample(paint(canvas, GRAY), matrix, (48, 64), GRAY)
    away = resized.image_hwc.astype(int) - warped.image_hwc
    slope = 2 * 2 * 2 / abs(matrix[0, 0])  # levels a pixel, along both sides; twice for the edges
    assert np.median(np.abs(away)) <= slope / 2
    plainly_seen = (warped.shown > 0.2) & (np.diff(warped.boxes_xyxy[:, ::2]) > 4)[:, 0]
    for box in warped.boxes_xyxy[plainly_seen]:
        nearest = np.abs(resized.boxes_xyxy - box).max(axis=1).min()
        assert nearest <= 1.5


@pytest.mark.parametrize("seed", range(8))
def test_boxes_are_where_the_resized_tiles_show_their_objects(seed: int) -> None:
    image = np.zeros((48, 64, 3), np.uint8)
    image[10:30, 20:40] = 255
    rng = np.random.default_rng(seed)
    matrix = random_affine(rng, AugmentConfig(), source=(48, 64), size=(96, 96))
    made = draw(alone(sample(image, (20, 10, 40, 30))), matrix, (96, 96), 0)
    rows, columns = np.nonzero(made.image_hwc[..., 0] > 127)
    seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    assert np.abs(made.boxes_xyxy[0] - seen).max() <= 0.75


@pytest.mark.parametrize("name", ["flip", "flip_vertical"])
def test_a_mirrored_tile_is_the_mirrored_image(name: str) -> None:
    config = AugmentConfig(**{**vars(STILL), name: 1.0})
    matrix = random_affine(np.random.default_rng(0), config, source=(24, 32), size=(24, 32))
    made = draw(alone(sample(noise(), (1, 2, 9, 13))), matrix, (24, 32), GRAY)
    assert np.array_equal(made.image_hwc, np.flip(noise(), 1 if name == "flip" else 0))
    mirrored = [23, 2, 31, 13] if name == "flip" else [1, 11, 9, 22]
    assert made.boxes_xyxy.tolist() == [mirrored]


def test_tiles_without_a_canvas_meet_where_they_meet_on_it() -> None:
    tiles = [sample(np.full((20, 24, 3), level, np.uint8)) for level in (10, 20, 30, 40)]
    shifted = np.array([[1.5, 0, -20.3], [0, 1.5, -14.2]])
    made = draw(mosaic(tiles, (30, 26), (32, 32)), shifted, (32, 32), GRAY).image_hwc[..., 0]
    x, y = round(1.5 * 30 - 20.3), round(1.5 * 26 - 14.2)
    assert [made[j, i] for j in (y - 1, y) for i in (x - 1, x)] == [10, 20, 30, 40]
    assert set(np.unique(made)) <= {10, 20, 30, 40, GRAY}


# --- colour --------------------------------------------------------------------------------------


def test_gray_stays_gray_under_hue_and_saturation() -> None:
    config = AugmentConfig(hue=0.5, saturation=0.9, brightness=0)
    for seed in range(5):
        matrix = random_colour(np.random.default_rng(seed), config)
        assert np.allclose(matrix @ np.ones(3), 1)


def test_a_third_of_the_colour_circle_turns_red_to_green() -> None:
    assert np.allclose(hue_rotation(2 * np.pi / 3) @ [1, 0, 0], [0, 1, 0], atol=1e-12)


def test_no_colour_change_is_the_identity() -> None:
    assert np.allclose(random_colour(np.random.default_rng(0), STILL), np.eye(3))


def test_mixup_keeps_the_boxes_of_both() -> None:
    a = sample(np.full((8, 8, 3), 100, np.uint8), (0, 0, 4, 4))
    b = sample(np.full((8, 8, 3), 200, np.uint8), (1, 1, 5, 5))
    mixed = blend(a, b, 0.75)
    assert mixed.image_hwc[0, 0, 0] == 125
    assert mixed.boxes_xyxy.tolist() == [[0, 0, 4, 4], [1, 1, 5, 5]]


# --- whole samples -------------------------------------------------------------------------------


def make(config: AugmentConfig, *, index: int = 0, seed: int = 0, mosaic_on: bool = True) -> Sample:
    made, _ = augment_sample(
        index,
        Source(5),
        config,
        size=(64, 96),
        rng=sample_rng(seed, 2, index),
        mosaic_on=mosaic_on,
    )
    return made


def test_a_sample_is_a_function_of_seed_epoch_and_index() -> None:
    config = AugmentConfig(mixup=0.5)
    one, two, other = make(config), make(config), make(config, seed=1)
    assert np.array_equal(one.image_hwc, two.image_hwc)
    assert np.array_equal(one.boxes_xyxy, two.boxes_xyxy)
    assert one.classes.tolist() == two.classes.tolist()
    assert not np.array_equal(one.image_hwc, other.image_hwc)


def test_generators_of_neighbouring_samples_differ() -> None:
    keys = [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0), (2**63 - 1, 0, 0)]
    assert len({sample_rng(*key).integers(2**62) for key in keys}) == len(keys)


@pytest.mark.parametrize("mosaic_on", [True, False])
@pytest.mark.parametrize("mixup", [0.0, 1.0])
def test_targets_lie_within_the_image(mosaic_on: bool, mixup: float) -> None:
    config = AugmentConfig(mixup=mixup, degrees=20, shear=5)
    for index in range(8):
        found = make(config, index=index % 5, seed=index, mosaic_on=mosaic_on)
        image, boxes, classes = found.image_hwc, found.boxes_xyxy, found.classes
        assert image.shape == (64, 96, 3)
        assert image.dtype == np.uint8
        assert boxes.dtype == np.float32
        assert len(boxes) == len(classes)
        assert (boxes >= 0).all()
        assert (boxes <= [96, 64, 96, 64]).all()
        assert (boxes[:, 2:] - boxes[:, :2] >= 2).all()


def test_closing_leaves_one_image() -> None:
    config = AugmentConfig(**{**vars(STILL), "mosaic": 1.0, "mixup": 1.0})
    found = make(config, mosaic_on=False)
    assert found.boxes_xyxy.tolist() == [[36, 18, 56, 38]]
    assert (found.image_hwc[18:38, 36:56] == 255).all()
    assert len(make(config).boxes_xyxy) > 1


# --- label sets ----------------------------------------------------------------------------------


def test_a_mosaic_knows_of_each_place_which_labels_it_has() -> None:
    tiles = [
        dataclasses.replace(
            sample(np.full((16, 16, 3), number, np.uint8)),
            sets=np.full((1, 16, 16), number, np.int16),
        )
        for number in (1, 2, 3, 4)
    ]
    canvas = mosaic(tiles, (16, 16), (16, 16))
    painted = paint(canvas, GRAY)
    assert painted.sets is not None
    shown = painted.image_hwc[..., 0]
    assert np.array_equal(painted.sets[0], np.where(shown == GRAY, COMPLETE, shown))
    for seed, config in enumerate([AugmentConfig(degrees=30, shear=5), AugmentConfig()] * 4):
        matrix = random_affine(np.random.default_rng(seed), config, source=(32, 32), size=(64, 64))
        warped = draw(canvas, matrix, (64, 64), GRAY)
        assert warped.sets is not None
        assert warped.sets.shape == (1, 64 // CELL, 64 // CELL)
        middles = warped.image_hwc[CELL // 2 :: CELL, CELL // 2 :: CELL, 0]
        shown = np.where(warped.sets[0] == COMPLETE, GRAY, warped.sets[0])
        assert (shown == middles)[np.isin(middles, (1, 2, 3, 4, GRAY))].mean() > 0.9


def test_a_blend_knows_the_labels_of_both() -> None:
    one, two = (
        dataclasses.replace(
            sample(np.zeros((8, 8, 3), np.uint8)), sets=np.full((1, 1, 1), number, np.int16)
        )
        for number in (1, 2)
    )
    mixed = blend(one, two, 0.5)
    assert mixed.sets is not None
    assert mixed.sets.ravel().tolist() == [1, 2]
