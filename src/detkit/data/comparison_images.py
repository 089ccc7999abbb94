"""Images to compare two forms of a model on: the user's own where they can be had."""

from __future__ import annotations

import contextlib
from pathlib import Path

from detkit.core.boxes import Array
from detkit.core.errors import DataError
from detkit.data.coco.folder import sample_images, synthetic_images
from detkit.spec.preprocess import Preprocess

DRAWN = "synthetic images"


def comparison_images(
    data: Path | str, preprocess: Preprocess, count: int, *, recorded: str = ""
) -> tuple[Array, str]:
    """(N, 3, H, W) float32 RGB 0..1 and where they are from.

    Args:
        data: COCO folder the user named, or nothing.
        recorded: the folder an artifact remembers; it may be gone, then images are drawn.

    Raises:
        DataError: `data` was named and holds no usable images.
    """
    if data:
        return sample_images(Path(data), preprocess, count)
    if recorded:
        with contextlib.suppress(DataError):
            return sample_images(Path(recorded), preprocess, count)
    return synthetic_images(preprocess, count), DRAWN
