"""What a training made, and how fast."""

from __future__ import annotations

from dataclasses import dataclass

from detkit.report.record import Report

ENDINGS = {
    "epochs": "complete",
    "time-limit": "ended early: the time limit was reached",
    "patience": "ended early: AP no longer rose",
    "signal": "interrupted",
}


@dataclass(frozen=True, kw_only=True)
class Averaged:
    """The mean weights of the best epochs, scored; `kept` where they became the best checkpoint."""

    epochs: tuple[int, ...]  # counted from 1
    ap: float
    ap_of_best: float  # of a single epoch
    kept: bool

    @property
    def line(self) -> str:
        """All of it in one line."""
        named = ", ".join(map(str, self.epochs))
        verdict = "kept as the best" if self.kept else "not kept"
        return (
            f"mean weights of epochs {named}: AP {self.ap:.4f}, and {self.ap_of_best:.4f} of the"
            f" best one: {verdict}"
        )


@dataclass(frozen=True, kw_only=True)
class TrainReport(Report):
    """What a run made, from what weights, and how fast.

    `init` is the checkpoint, the starter weights or none that it began with; `weights_taken` the
    share of its weights that came from there, `classes_known` how many classes that knew by name.
    AP and the best epoch are None where validation has no box to measure on; the two figures of
    speed where nothing was left to train.
    """

    kind: str = "train report"
    schema_version: int = 1
    checkpoint: str
    model: str
    arch_digest: str
    data: str
    data_digest: str
    epochs: int
    best_epoch: int | None
    ap: float | None
    ap50: float | None
    seconds: float
    images_per_s: float | None
    data_wait_share: float | None
    images: int
    boxes: int
    dropped_images: int
    dropped_boxes: int
    stopped_by: str  # a key of ENDINGS
    init: str = ""
    weights_taken: float = 0.0
    classes_known: int = 0
    licence: str = ""  # of the weights, as in the manifest
    weights_source: str = ""
    averaged: Averaged | None = None  # None where none were

    @property
    def ending(self) -> str:
        """Why the training ended, in words."""
        return ENDINGS.get(self.stopped_by, self.stopped_by)
