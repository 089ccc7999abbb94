"""Scoring the averaged weights of a run on its whole validation split."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from detkit.artifact.artifact import Manifest
from detkit.core.boxes import EVAL_NMS, Detections
from detkit.data.coco.folder import CocoSplit
from detkit.engines.torch.session import TorchSession
from detkit.evaluation.evaluate import coco_figures, detect
from detkit.nn.detector import Detector, fuse
from detkit.report import Figures
from detkit.runtime.session import Session, SessionOptions
from detkit.train import ranks

T = TypeVar("T")


def open_fused(model: Detector, manifest: Manifest, device: str) -> Session:
    """The network as validation runs it by default: fused, in torch."""
    return TorchSession(fuse(model), manifest, SessionOptions(device=device))


OpenSession = Callable[[Detector, Manifest, str], Session]


@dataclass(frozen=True, eq=False)
class Validation:
    """The COCO figures of one validation, and the detections that they are of."""

    figures: Figures
    detections: list[Detections]


def validate(
    session: Session,
    val: CocoSplit,
    *,
    batch_size: int,
    on_progress: Callable[[int], None] = lambda _: None,
) -> Validation:
    """Runs a network on a split and scores what it finds.

    The processes of a run deal out the batches, which are those of one process, so that the figures
    are, too; the first one scores, and tells the figures to the others.

    Args:
        on_progress: called with the number of images just done, by all processes if as fast.

    Raises:
        NonFiniteError: it gives NaN or Inf.
    """
    mine = dealt_out(val.records, batch_size, ranks.rank(), ranks.world())
    found = ranks.to_first(
        detect(
            session,
            mine,
            batch_size=batch_size,
            nms=EVAL_NMS,
            on_progress=lambda images: on_progress(images * ranks.world()),
        )
    )
    if not ranks.is_first():
        return Validation(ranks.from_first(None), found[0])
    detections = in_order(found, batch_size)
    figures = ranks.from_first(coco_figures(val.records, val.class_names, detections))
    return Validation(figures, detections)


def dealt_out(items: Sequence[T], batch_size: int, number: int, hands: int) -> list[T]:
    """The batches that are number `number`'s, of as many hands, one after the other.

    >>> dealt_out("abcdefg", 2, 1, 2)
    ['c', 'd', 'g']
    """
    starts = range(number * batch_size, len(items), hands * batch_size)
    return [item for start in starts for item in items[start : start + batch_size]]


def in_order(dealt: Sequence[Sequence[T]], batch_size: int) -> list[T]:
    """What `dealt_out` dealt to all hands, as it was before.

    >>> in_order([["a", "b", "e", "f"], ["c", "d", "g"]], 2)
    ['a', 'b', 'c', 'd', 'e', 'f', 'g']
    """
    longest = max(map(len, dealt), default=0)
    starts = range(0, longest, batch_size)
    return [item for start in starts for hand in dealt for item in hand[start : start + batch_size]]


def is_finite(model: Detector) -> bool:
    """Whether every weight and statistic is a number."""
    return all(bool(torch.isfinite(tensor).all()) for tensor in model.state_dict().values())
