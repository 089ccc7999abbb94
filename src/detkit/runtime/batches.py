"""Images -> detections, in batches of a size that the graph can be trusted with.

Graphs of other tools are not always right in a batch: one whose NMS mixes the images up scored AP
.0466 in place of .1551. So the first batch of such a graph is run a second time, image by image.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from detkit.core.boxes import EVAL_NMS, Array, Detections, NmsConfig, iou_matrix
from detkit.core.errors import ArtifactError, DetkitWarning
from detkit.onnx_signature.signature import DescribedSignature
from detkit.runtime.described_session import DescribedSession
from detkit.runtime.session import Pixels, Session, infer

SAME_IOU, SAME_SCORE = 0.5, 0.05  # of one detection in two runs, at least and apart at most
LEAST_SHARED = 0.9  # of the score of an image's detections
LEAST_MASS = 0.25  # of score: what fewer detections have says little


def detections_of(session: Session, images: Array, config: NmsConfig) -> list[Detections]:
    """Detects objects in each image by `infer`, whatever batch size the graph takes.

    Warns once (`DetkitWarning`) of a graph of another tool that is wrong in a batch, and runs its
    images one at a time.

    Raises:
        NonFiniteError: the model gives NaN or Inf.
        ArtifactError: outputs that cannot be what was described.
    """
    only = only_batch_of(session)
    if not only and not is_right_in_batch(session, images, "images are run one at a time"):
        only = 1
    size = only or len(images)
    found: list[Detections] = []
    for start in range(0, len(images), size):
        part = images[start : start + size]
        batch = part if len(part) == size else np.resize(part, (size, *part.shape[1:]))
        found += infer(session, batch).detections(config)[: len(part)]
    return found


def only_batch_of(session: Session) -> int:
    """The batch size that the graph has fixed, or 0."""
    manifest = session.manifest
    return manifest.only_batch if isinstance(manifest, DescribedSignature) else 0


def is_right_in_batch(session: Session, images: Array | Pixels, consequence: str) -> bool:
    """Whether images get in a batch what they get alone, found out once for each session.

    Graphs of detkit's own are known to be right. Of others nothing is known before two images of
    a batch have detections.

    Args:
        consequence: of a graph that is wrong, for its warning.
    """
    if not isinstance(session, DescribedSession):
        return True
    if session.is_right_in_batch is None and len(images) > 1:
        alone = [
            infer(session, images[i : i + 1]).detections(EVAL_NMS)[0] for i in range(len(images))
        ]
        fault = _fault(session, images, alone)
        if fault:
            session.is_right_in_batch = False
            text = f"{session.path}: the graph is wrong in a batch: {fault}; {consequence}"
            warnings.warn(text, DetkitWarning, stacklevel=2)
        elif sum(map(bool, map(len, alone))) > 1:
            session.is_right_in_batch = True
    return session.is_right_in_batch is not False


def _fault(session: DescribedSession, images: Array | Pixels, alone: Sequence[Detections]) -> str:
    """What is wrong with the detections of a batch, "" if nothing is."""
    try:
        together = infer(session, images).detections(EVAL_NMS)
    except ArtifactError as error:
        return str(error).removeprefix(f"{session.path}: ")
    if len(together) != len(alone):
        return f"detections of {len(together)} images for {len(alone)}"
    shares = [min(_shared(a, b), _shared(b, a)) for a, b in zip(alone, together, strict=True)]
    wrong = [share for share in shares if share < LEAST_SHARED]
    if not wrong:
        return ""
    return (
        f"{len(wrong)} of {len(alone)} images get other detections than alone"
        f" (one of them {min(wrong):.0%} of the same, by score)"
    )


def _shared(one: Detections, other: Detections) -> float:
    """The share of the score of one's detections that are among the other's."""
    if not len(one):
        return 1.0
    same = one.classes[:, None] == other.classes
    same &= np.abs(one.scores[:, None] - other.scores) <= SAME_SCORE
    same &= iou_matrix(one.boxes_xyxy, other.boxes_xyxy) >= SAME_IOU
    lost = float(one.scores[~same.any(axis=1)].sum())
    return 1 - lost / max(float(one.scores.sum()), LEAST_MASS)
