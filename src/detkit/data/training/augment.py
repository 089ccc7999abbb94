"""One training sample from its number: a pure function of (seed, epoch, index) and the images.

All randomness comes from a counter-based generator keyed by those three numbers, never from the
state of a worker, so that a resumed epoch goes on with the very same images.
"""

from __future__ import annotations

import dataclasses
from typing import Protocol

import numpy as np

from detkit.config import AugmentConfig
from detkit.data.training.canvas import alone, draw, mosaic
from detkit.data.training.transforms import Matrix, Sample, blend, random_affine, random_colour

PAD_VALUE = 114
MIXUP_BETA = 32.0  # both parameters of the Beta distribution: blends near one half


class ImageSource(Protocol):
    """The images of a split, resized to fit the training size, and their targets."""

    def partners(self, rng: np.random.Generator, count: int) -> list[int]:
        """Numbers of images to be combined with another one."""
        ...

    def sample(self, index: int) -> Sample:
        """The image (H, W, 3) uint8 RGB with its labels in its pixels; no crowds."""
        ...


def sample_rng(seed: int, epoch: int, index: int) -> np.random.Generator:
    """The generator of one sample: Philox with (seed, epoch, index) as its key, nothing shared."""
    key = np.array([seed, (epoch << 32) | index], np.uint64)
    return np.random.Generator(np.random.Philox(key=key))


def augment_sample(
    index: int,
    images: ImageSource,
    config: AugmentConfig,
    *,
    size: tuple[int, int],
    rng: np.random.Generator,
    mosaic_on: bool,
    pad_value: int = PAD_VALUE,
) -> tuple[Sample, Matrix]:
    """One image of `size` (height, width) with its labels, and the colour matrix it is due.

    `mosaic_on` False leaves out mosaic and mixup, as the last epochs do.
    """
    if not mosaic_on:
        config = dataclasses.replace(config, mosaic=0.0, mixup=0.0)
    sample = _composed(index, images, config, size, rng, pad_value)
    if rng.random() < config.mixup:
        (partner,) = images.partners(rng, 1)
        other = _composed(partner, images, config, size, rng, pad_value)
        sample = blend(sample, other, rng.beta(MIXUP_BETA, MIXUP_BETA))
    return sample, random_colour(rng, config)


def _composed(
    index: int,
    images: ImageSource,
    config: AugmentConfig,
    size: tuple[int, int],
    rng: np.random.Generator,
    pad_value: int,
) -> Sample:
    """One image or a mosaic of four, warped to `size`."""
    if rng.random() < config.mosaic:
        samples = [images.sample(i) for i in (index, *images.partners(rng, 3))]
        centre = (
            int(rng.integers(size[1] // 2, size[1] * 3 // 2)),
            int(rng.integers(size[0] // 2, size[0] * 3 // 2)),
        )
        canvas = mosaic(samples, centre, size)
    else:
        canvas = alone(images.sample(index))
    return draw(canvas, random_affine(rng, config, source=canvas.size, size=size), size, pad_value)
