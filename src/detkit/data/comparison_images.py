"""Pictures to compare two forms of a model on: the user's own where they can be had."""

from __future__ import annotations

import contextlib
from pathlib import Path

from detkit.core.boxes import Array
from detkit.core.errors import DataError
from detkit.data.coco.folder import sample_pictures, synthetic_pictures
from detkit.spec.preprocess import Preprocess

DRAWN = "drawn pictures"


def comparison_pictures(
    data: Path | str, preprocess: Preprocess, count: int, *, recorded: str = ""
) -> tuple[Array, str]:
    """(N, 3, H, W) float32 RGB 0..1 and where they are from.

    Args:
        data: COCO folder the user named, or nothing.
        recorded: the folder an artifact remembers; it may be gone, then pictures are drawn.

    Raises:
        DataError: `data` was named and holds no usable pictures.
    """
    if data:
        return sample_pictures(Path(data), preprocess, count)
    if recorded:
        with contextlib.suppress(DataError):
            return sample_pictures(Path(recorded), preprocess, count)
    return synthetic_pictures(preprocess, count), DRAWN
