"""How often images are shown: repeat factors and what an epoch makes of them."""

from pathlib import Path

import numpy as np
import pytest

from detkit.data.coco.split_reader import ImageRecord
from detkit.data.training.sampling import ImageSampling, repeat_factors


def records(*classes: tuple[int, ...]) -> list[ImageRecord]:
    """Images with a box of each class; a negative class is a crowd of it."""
    made = []
    for number, present in enumerate(classes):
        found = np.array(present, np.int64)
        count = len(found)
        made.append(
            ImageRecord(
                image_id=number,
                path=Path("none.jpg"),
                file_name="none.jpg",
                width=8,
                height=8,
                boxes_xyxy=np.zeros((count, 4), np.float32),
                classes=np.abs(found),
                crowd=found < 0,
                area=np.ones(count),
                scores=np.ones(count, np.float32),
            )
        )
    return made


COMMON, RARE = (0,), (0, 1)
IMAGES = records(*[COMMON] * 14, RARE, ())  # class 1 is in 1 of 16 images, class 0 in 15


def test_an_image_has_the_factor_of_its_rarest_class() -> None:
    factors = repeat_factors(IMAGES, 0.25)
    assert factors.tolist() == [1.0] * 14 + [2.0, 1.0]  # sqrt(0.25 / (1 / 16)) = 2


def test_crowds_do_not_make_a_class_less_rare_nor_their_image_repeat() -> None:
    factors = repeat_factors(records((0,), (0,), (0, 1), (0, -1)), 1.0)
    assert factors.tolist() == [1.0, 1.0, 2.0, 1.0]


def test_threshold_0_is_the_plain_permutation() -> None:
    sampling = ImageSampling(IMAGES)
    order = sampling.order(np.random.default_rng(3))
    assert order.tolist() == np.random.default_rng(3).permutation(16).tolist()
    assert sampling.num_draws == 16


def test_every_epoch_has_the_same_length_and_shows_images_by_their_factors() -> None:
    images = records(*[COMMON] * 30, RARE, RARE)
    sampling = ImageSampling(images, threshold=0.1)
    factor = repeat_factors(images, 0.1)[-1]
    assert 1.2 < factor < 1.3
    shown = np.zeros(32)
    for epoch in range(400):
        draws = sampling.order(np.random.default_rng(epoch))
        assert len(draws) == sampling.num_draws == 32
        assert len(set(draws.tolist())) == 32  # the repeats of an image differ in their key
        np.add.at(shown, [sampling.image_of(draw) for draw in draws.tolist()], 1)
    ratio = shown[30:].mean() / shown[:30].mean()
    assert ratio == pytest.approx(factor, rel=0.03)


def test_partners_are_drawn_as_often_as_they_are_shown() -> None:
    sampling = ImageSampling(IMAGES, threshold=0.25)
    rng = np.random.default_rng(0)
    drawn = np.bincount(sampling.partners(rng, 17_000), minlength=16)
    assert drawn[14] == pytest.approx(2000, rel=0.1)
    assert drawn[:14] == pytest.approx(1000, rel=0.15)
