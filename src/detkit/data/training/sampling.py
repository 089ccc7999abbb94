"""How often an epoch shows each image, and in which order.

Repeat-factor sampling (Gupta et al., LVIS, CVPR 2019, arXiv 1908.03195): a class that a share f of
the images have has the factor max(1, sqrt(t / f)) under the threshold t; an image has the largest
factor of its classes, and is shown that many times an epoch on average.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from detkit.data.coco.split_reader import ImageRecord

GRAIN = 1024  # factors are multiples of 1/GRAIN, so that their sums are exact


class ImageSampling:
    """Draws the images of an epoch, and those that join one in a mosaic, by repeat factors.

    Args:
        threshold: share of the images below which a class counts as rare; 0 repeats nothing.
    """

    def __init__(self, records: Sequence[ImageRecord], *, threshold: float = 0.0) -> None:
        self._num_images = len(records)
        factors = repeat_factors(records, threshold)
        self._factors = factors if (factors > 1).any() else None
        self._ends = np.cumsum(factors)

    @property
    def num_draws(self) -> int:
        """Images that an epoch shows, repeats included."""
        return int(self._ends[-1])

    def order(self, rng: np.random.Generator) -> npt.NDArray[np.int64]:
        """The draws of an epoch, shuffled: `image + repeat * number of images`.

        The number of a draw so differs between the repeats of an image: it is the key of its
        augmentation. A fraction of a factor is one more repeat in that share of the epochs.
        """
        order = rng.permutation(self._num_images)
        if self._factors is None:
            return order
        ends = np.floor(np.cumsum(self._factors[order]) + rng.random()).astype(np.int64)
        starts = np.concatenate([[0], ends[:-1]])
        repeat = np.arange(ends[-1]) - np.repeat(starts, ends - starts)
        draws = np.repeat(order, ends - starts) + repeat * self._num_images
        return rng.permutation(draws)[: self.num_draws]

    def image_of(self, draw: int) -> int:
        """The image that a draw shows."""
        return draw % self._num_images

    def partners(self, rng: np.random.Generator, count: int) -> list[int]:
        """Images to be combined with another one, each as likely as it is often shown."""
        if self._factors is None:
            drawn: list[int] = rng.integers(self._num_images, size=count).tolist()
            return drawn
        at = rng.random(count) * self._ends[-1]
        weighted: list[int] = np.searchsorted(self._ends, at, side="right").tolist()
        return weighted


def repeat_factors(records: Sequence[ImageRecord], threshold: float) -> npt.NDArray[np.float64]:
    """How often an epoch shows each image on average, (N,), 1 or more; crowds do not count."""
    present = [np.unique(record.classes[~record.crowd]) for record in records]
    images_with = np.bincount(np.concatenate([np.zeros(0, np.int64), *present]))
    share = np.maximum(images_with, 1) / max(len(records), 1)
    factor_of = np.maximum(1.0, np.sqrt(threshold / share))
    factors = [factor_of[classes].max(initial=1.0) for classes in present]
    return np.round(np.array(factors) * GRAIN) / GRAIN
