"""Scoring the averaged weights of a run on its whole validation split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from detkit.artifact.artifact import Manifest
from detkit.core.boxes import EVAL_NMS, Detections
from detkit.data.coco.folder import CocoSplit
from detkit.engines.torch.session import TorchSession
from detkit.evaluation.evaluate import coco_figures, detect
from detkit.nn.detector import Detector, fuse
from detkit.report import Figures
from detkit.runtime.session import Session, SessionOptions


def open_fused(model: Detector, manifest: Manifest, device: str) -> Session:
    """The network as validation runs it by default: fused, in torch."""
    return TorchSession(fuse(model), manifest, SessionOptions(device=device))


OpenSession = Callable[[Detector, Manifest, str], Session]


@dataclass(frozen=True, eq=False)
class Validation:
    """The COCO figures of one validation, and the detections that they are of."""

    figures: Figures
    detections: list[Detections]


def validate(session: Session, val: CocoSplit, *, batch_size: int) -> Validation:
    """Runs a network on a split and scores what it finds.

    Raises:
        NonFiniteError: it gives NaN or Inf.
    """
    detections = detect(session, val.records, batch_size=batch_size, nms=EVAL_NMS)
    figures = coco_figures(val.records, val.class_names, detections)
    return Validation(figures, detections)


def is_finite(model: Detector) -> bool:
    """Whether every weight and statistic is a number."""
    return all(bool(torch.isfinite(tensor).all()) for tensor in model.state_dict().values())
