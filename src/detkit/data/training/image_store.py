"""The images of a split at the training size: decoded once into shared memory, or on demand.

One block of memory holds them all; processes forked later share it, so a cache costs its size once
however many workers there are. Targets and paths are kept in flat arrays rather than objects:
reading an object changes its reference count, and with it copies its page into every worker.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from detkit.core.errors import DataError
from detkit.core.memory import available_memory
from detkit.data.coco.split_reader import ImageRecord
from detkit.data.image import Pixels, fitted_size, read_image, resize
from detkit.data.training.sampling import ImageSampling
from detkit.data.training.transforms import COMPLETE, LabelSets, Mask, Sample

AUTO_SHARE = 0.25  # of the available memory that the cache may take when nobody asked for it


class ImageStore:
    """A `ImageSource`: images resized so that they just fit `size` (height, width).

    Args:
        sampling: which images are combined with others; every one as often by default.
        cache: on, off, or auto: on when it takes less than a quarter of the available memory.

    Raises:
        DataError: an image that cannot be read, or a cache that was asked for and does not fit.
    """

    def __init__(
        self,
        records: Sequence[ImageRecord],
        *,
        size: tuple[int, int],
        sampling: ImageSampling | None = None,
        cache: str = "auto",
    ) -> None:
        self.sampling = sampling or ImageSampling(records)
        self._sizes = np.array([(r.height, r.width) for r in records], np.int64).reshape(-1, 2)
        fitted = [fitted_size((r.height, r.width), size) for r in records]
        self._fitted = np.array(fitted, np.int64).reshape(-1, 2)
        paths = [os.fsencode(record.path) for record in records]
        self._paths = b"".join(paths)
        self._path_ends = np.cumsum([0, *map(len, paths)])
        boxes = [record.boxes_xyxy[~record.crowd] for record in records]
        classes = [record.classes[~record.crowd] for record in records]
        self._boxes = np.concatenate([np.zeros((0, 4), np.float32), *boxes])
        self._classes = np.concatenate([np.zeros(0, np.int64), *classes])
        scores = [record.scores[~record.crowd] for record in records]
        self._scores = np.concatenate([np.zeros(0, np.float32), *scores])
        self._set_of, self.known = label_sets(records)
        self._box_ends = np.cumsum([0, *map(len, classes)])
        self._offsets = np.cumsum([0, *(self._fitted.prod(axis=1) * 3)])
        self._block = self._filled_block() if self._cached(cache) else None

    def __len__(self) -> int:
        return len(self._sizes)

    @property
    def cache_bytes(self) -> int:
        """Memory taken by decoded images; 0 without a cache."""
        return 0 if self._block is None else self._block.nbytes

    def image(self, index: int) -> Pixels:
        """(h, w, 3) uint8 RGB that just fits the training size."""
        if self._block is None:
            return self._decoded(index)
        return self._slot(self._block, index)

    def partners(self, rng: np.random.Generator, count: int) -> list[int]:
        """Numbers of images to be combined with another one."""
        return self.sampling.partners(rng, count)

    def sample(self, index: int) -> Sample:
        """The image and its labels, in pixels of the image; crowds left out."""
        at = slice(self._box_ends[index], self._box_ends[index + 1])
        scale = self._fitted[index] / self._sizes[index]
        boxes = self._boxes[at] * np.array([scale[1], scale[0]] * 2, np.float32)
        image, sets = self.image(index), None
        if self.known is not None:
            sets = np.broadcast_to(self._set_of[index], (1, *image.shape[:2]))
        shown = np.ones(len(boxes), np.float32)
        return Sample(image, boxes, self._classes[at], shown, self._scores[at], sets)

    def _decoded(self, index: int) -> Pixels:
        height, width = self._sizes[index].tolist()
        raw = self._paths[self._path_ends[index] : self._path_ends[index + 1]]
        image = read_image(Path(os.fsdecode(raw)), size_hint=(width, height))
        fitted_height, fitted_width = self._fitted[index].tolist()
        return np.array(resize(image, (fitted_height, fitted_width)))  # torch wants it writable

    def _slot(self, block: Pixels, index: int) -> Pixels:
        height, width = self._fitted[index].tolist()
        return block[self._offsets[index] : self._offsets[index + 1]].reshape(height, width, 3)

    def _cached(self, cache: str) -> bool:
        needed, available = int(self._offsets[-1]), available_memory()
        if cache == "on" and 0 < available < needed:
            raise DataError(
                f"the image cache needs {needed >> 20} MiB and {available >> 20} MiB are free",
                hint="cache=off",
            )
        return cache == "on" or (cache == "auto" and needed < AUTO_SHARE * available)

    def _filled_block(self) -> Pixels:
        block = shared_bytes(int(self._offsets[-1]))

        def fill(index: int) -> None:
            self._slot(block, index)[:] = self._decoded(index)

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for _ in pool.map(fill, range(len(self))):
                pass
        return block


def label_sets(records: Sequence[ImageRecord]) -> tuple[LabelSets, Mask | None]:
    """The label set (N,) of each image, and the classes (S, C) that each label set speaks of.

    The table is None where all images are labelled completely; its row `COMPLETE` is that set.
    """
    rows: dict[bytes, int] = {}
    numbers = [
        COMPLETE if record.known is None else 1 + rows.setdefault(record.known.tobytes(), len(rows))
        for record in records
    ]
    if not rows:
        return np.zeros(len(records), np.int16), None
    if len(rows) > np.iinfo(np.int16).max - 1:
        raise DataError(f"images name {len(rows)} different sets of labelled classes, too many")
    known = [np.frombuffer(row, np.bool_) for row in rows]
    table = np.stack([np.ones_like(known[0]), *known])
    return np.array(numbers, np.int16), table


def shared_bytes(count: int) -> Pixels:
    """`count` zero bytes that processes forked from this one share (anonymous, no /dev/shm)."""
    return np.frombuffer(mmap.mmap(-1, max(1, count)), np.uint8)[:count]
