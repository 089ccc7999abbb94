"""Images with their annotations as the network's input, in order, for evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from detkit.core.boxes import Array
from detkit.data.coco.folder import ImageRecord
from detkit.data.image import Letterbox, letterbox, network_input, read_image
from detkit.spec.preprocess import Preprocess


@dataclass(frozen=True)
class EvalBatch:
    """Images (B, 3, H, W) float32 0..1 RGB, and the record and the letterbox of each."""

    images: Array
    records: tuple[ImageRecord, ...]
    letterboxes: tuple[Letterbox, ...]


def eval_batches(
    records: Sequence[ImageRecord], preprocess: Preprocess, batch_size: int
) -> Iterator[EvalBatch]:
    """Batches in the order of `records`; the last one may be smaller.

    Raises:
        DataError: an image that cannot be read.
    """
    for start in range(0, len(records), batch_size):
        chosen = tuple(records[start : start + batch_size])
        pairs = [
            letterbox(read_image(r.path, size_hint=(r.width, r.height)), preprocess) for r in chosen
        ]
        images = network_input([padded for padded, _ in pairs], preprocess)
        yield EvalBatch(images, chosen, tuple(letterbox for _, letterbox in pairs))
