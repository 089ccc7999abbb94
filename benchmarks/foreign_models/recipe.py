"""What is known of a foreign model before it is made, and what its own package then found with it.

Legend: N detections of an image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

FILE, EXPECTED = "model.onnx", "expected.npz"
ANY_SIZE = "any"  # an image's longer side is that of the input, so that nothing is resized
EVEN = "even"  # so, and both sides are even: the padding of each end is whole pixels
SQUARE = "square"  # the image fills the input


@dataclass(frozen=True, kw_only=True)
class ForeignModel:
    """A detector, how its file is read, and the postprocessing that both sides are given.

    Attributes:
        outputs: what `--outputs` is told: a preset, or a description as it stands in a JSON file.
        size: height and width of the input in pixels.
        images: `ANY_SIZE`, where it letterboxes or does not care, `EVEN` or `SQUARE`.
        conf: least score; of files with a threshold inside, one above it.
        iou: of the NMS, where it is not in the file.
        multi_label: whether the package keeps every class of a box, or the best one.
        settings: what the module of its package needs to make it.
    """

    name: str
    outputs: str | dict[str, Any]
    size: tuple[int, int] = (320, 320)
    images: str = ANY_SIZE
    conf: float = 0.25
    iou: float = 0.7
    multi_label: bool = True
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Found:
    """An image's detections: boxes (N, 4) xyxy in its pixels, scores (N,), labels (N,)."""

    boxes_xyxy: npt.NDArray[np.float64]
    scores: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]

    @classmethod
    def of(cls, boxes_xyxy: Any, scores: Any, labels: Any) -> Found:
        """From lists, arrays or tensors on the CPU."""
        return cls(
            np.asarray(boxes_xyxy, np.float64).reshape(-1, 4),
            np.asarray(scores, np.float64).reshape(-1),
            np.asarray(labels, np.float64).reshape(-1).astype(np.int64),
        )


def write_found(path: Path, found: Sequence[Found]) -> None:
    """Writes the detections of all images."""
    arrays: dict[str, Any] = {}
    for index, one in enumerate(found):
        arrays |= {f"boxes{index}": one.boxes_xyxy, f"scores{index}": one.scores}
        arrays[f"labels{index}"] = one.labels
    np.savez_compressed(path, **arrays)


def read_found(path: Path) -> list[Found]:
    """The detections of all images, in their order."""
    with np.load(path) as file:
        count = len(file.files) // 3
        return [
            Found(file[f"boxes{i}"], file[f"scores{i}"], file[f"labels{i}"]) for i in range(count)
        ]
