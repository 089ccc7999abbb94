"""Whether images can be calibrated on: blank ones, copies and mere backgrounds give no ranges."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from detkit.core.boxes import Array
from detkit.core.errors import DataError
from detkit.data.coco.split_reader import ImageRecord
from detkit.data.eval_loader import eval_batches
from detkit.data.image import Letterbox
from detkit.spec.preprocess import Preprocess

CELLS = 8  # a side, of the thumbnail that images are compared by
BLANK = 2.0  # levels of 255; the standard deviation of an image of one colour is below
ALIKE = 2.0  # levels; the thumbnails of images that show the same differ by less everywhere
FEW = 8  # images that differ; ranges of fewer are those of these images


class ImageContent:
    """Counts what batches of images hold as they pass by on their way to the network."""

    def __init__(self, preprocess: Preprocess) -> None:
        self._preprocess = preprocess
        self._thumbnails: list[Array] = []
        self._blank: list[str] = []
        self._without_boxes = 0

    def load(self, records: Sequence[ImageRecord], batch_size: int) -> Iterator[Array]:
        """Yields the images as batches (B, 3, H, W) float32, as the network takes them."""
        for batch in eval_batches(records, self._preprocess, batch_size):
            for image, box, record in zip(
                batch.images, batch.letterboxes, batch.records, strict=True
            ):
                self._count(self._levels(image, box), record.file_name)
                self._without_boxes += not len(record.boxes_xyxy)
            yield batch.images

    def warnings(self) -> list[str]:
        """What speaks against calibrating on the images that passed.

        Raises:
            DataError: all of them are of one colour.
        """
        total, blank, distinct = len(self._thumbnails), len(self._blank), self._num_distinct()
        if blank == total:
            raise DataError(
                f"all {total} calibration images are of one colour ({self._blank[0]}, ...): "
                "no range can be taken from them",
                hint="look at the images of the training split",
            )
        found = []
        if blank:
            found.append(
                f"{blank} of {total} calibration images are of one colour ({self._blank[0]}, ...):"
                " ranges are taken from the others"
            )
        if distinct < total // 2:
            found.append(f"{total} calibration images show {distinct} different scenes")
        elif distinct < FEW:
            found.append(
                f"ranges are taken from {distinct} different images; 100 and more are usual"
            )
        if 2 * self._without_boxes > total:
            found.append(
                f"{self._without_boxes} of {total} calibration images have no boxes: "
                "ranges of objects are those of the others"
            )
        return found

    def _levels(self, image: Array, box: Letterbox) -> Array:
        """The image (3, h, w) without its padding, in levels of 0..255 but for an offset."""
        height, width = round(box.height * box.scale_y), round(box.width * box.scale_x)
        inside = image[:, box.top : box.top + height, box.left : box.left + width]
        std = np.array(self._preprocess.std if self._preprocess.is_normalised else (1.0,) * 3)
        levels: Array = inside * (std / self._preprocess.scale).astype(np.float32)[:, None, None]
        return levels

    def _count(self, levels: Array, name: str) -> None:
        if levels.std(axis=(1, 2)).max() < BLANK:
            self._blank.append(name)
        rows, columns = (np.linspace(0, side, CELLS + 1).astype(int) for side in levels.shape[1:])
        cells = np.add.reduceat(levels, np.minimum(rows[:-1], levels.shape[1] - 1), axis=1)
        cells = np.add.reduceat(cells, np.minimum(columns[:-1], levels.shape[2] - 1), axis=2)
        sizes = np.maximum(np.diff(rows), 1)[:, None] * np.maximum(np.diff(columns), 1)
        self._thumbnails.append((cells / sizes).astype(np.float32).ravel())

    def _num_distinct(self) -> int:
        """How many images differ from all before them."""
        kept: list[Array] = []
        for thumbnail in self._thumbnails:
            if not any(np.abs(thumbnail - other).max() < ALIKE for other in kept):
                kept.append(thumbnail)
        return len(kept)
