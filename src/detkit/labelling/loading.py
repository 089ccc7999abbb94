"""Images read batch by batch: each one once, and every one that cannot be used told."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from detkit.artifact.artifact import sha256_of
from detkit.core.errors import DataError
from detkit.data.image import Letterbox, Pixels, letterbox, read_image
from detkit.labelling.images import LabelItem
from detkit.spec.preprocess import Preprocess


@dataclass(frozen=True)
class LoadedImage:
    """An image as the network takes it, (H, W, 3) uint8, and where it lies in there."""

    item: LabelItem
    padded: Pixels
    geometry: Letterbox
    sha256: str


class ImageLoader:
    """Reads images; `duplicates` and `skipped` say afterwards what was left out, and why.

    An image that equals an earlier one byte for byte is a duplicate, unless a person labelled it.
    """

    def __init__(self, items: Sequence[LabelItem], preprocess: Preprocess, batch: int) -> None:
        self._items, self._preprocess, self._batch = items, preprocess, batch
        self._name_of: dict[str, str] = {}
        self.duplicates: dict[str, str] = {}
        self.skipped: list[str] = []

    def batches(self) -> Iterator[tuple[list[LoadedImage], int]]:
        """The usable images of each batch in order, and how many there were to read.

        No more than a batch is in memory, and of the whole images as many as there are CPUs.
        """
        rest = iter(self._items)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            while chunk := list(itertools.islice(rest, self._batch)):
                found = zip(chunk, pool.map(self._load, chunk), strict=True)
                taken = [self._taken(item, image) for item, image in found]
                yield [image for image in taken if image is not None], len(chunk)

    def _load(self, item: LabelItem) -> LoadedImage | str:
        """The image, or the reason why it cannot be read."""
        hint = (item.human.width, item.human.height) if item.human else None
        try:
            padded, geometry = letterbox(read_image(item.path, size_hint=hint), self._preprocess)
            return LoadedImage(item, padded, geometry, sha256_of(item.path))
        except (DataError, OSError) as error:
            return str(error)

    def _taken(self, item: LabelItem, image: LoadedImage | str) -> LoadedImage | None:
        if isinstance(image, str):
            self.skipped.append(_writable(image))
            return None
        first = self._name_of.setdefault(image.sha256, item.name)
        if first == item.name or item.human is not None:
            return image
        self.duplicates[item.name] = first
        return None


def _writable(text: str) -> str:
    """Text without the halves of characters that stand for the bytes of a file name."""
    return text.encode("utf-8", "replace").decode()
