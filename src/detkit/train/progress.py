"""Where a run stands, as numbers and as the one line a person reads."""

from __future__ import annotations

from dataclasses import dataclass

from detkit.core.boxes import EVAL_NMS


@dataclass(frozen=True, kw_only=True)
class TrainProgress:
    """Where a run is after a batch, within a validation, or after it. Losses are epoch means.

    Within a validation `scored` says how many of its images are done. After it `detections` says
    how many there were; AP is None where it is undefined.
    """

    epoch: int  # counted from 1
    epochs: int
    batch: int
    batches: int
    loss: float
    loss_cls: float
    loss_iou: float
    loss_dfl: float
    lr: float
    images_per_s: float | None  # None where the epoch had no batch left to do
    data_wait_share: float | None  # of the time spent in the epoch so far
    eta_s: float
    ap: float | None = None
    ap50: float | None = None
    detections: int | None = None
    is_best: bool = False
    scored: int | None = None
    to_score: int = 0  # images of a validation

    @property
    def is_validated(self) -> bool:
        """Whether this is the end of an epoch, with its figures."""
        return self.detections is not None

    @property
    def part_done(self) -> tuple[int, int]:
        """Batches of the epoch that are done, of how many; within a validation images."""
        if self.scored is not None:
            return self.scored, self.to_score
        return self.batch, self.batches

    def bar_text(self) -> str:
        """Writes what stands behind a bar: `12/26 loss 1.901 17.9 img/s data  3% eta 5:20`."""
        done, total = self.part_done
        if self.scored is not None:
            return f"{done}/{total} images validated"
        parts = (
            f"{done}/{total} loss {self.loss:.3f}",
            "" if self.images_per_s is None else f"{self.images_per_s:5.1f} img/s",
            "" if self.data_wait_share is None else f"data {self.data_wait_share:>3.0%}",
            f"eta {clock_text(self.eta_s)}",
        )
        return " ".join(filter(None, parts))

    def short_line(self) -> str:
        """Writes the result of an epoch in less than 80 columns."""
        parts = [f"epoch {self.epoch}/{self.epochs}", f"loss {self.loss:.3f}", self._figures()]
        rate = "" if self.images_per_s is None else f"{self.images_per_s:.1f} img/s"
        return "  ".join(filter(None, (*parts, rate, f"eta {clock_text(self.eta_s)}")))

    def line(self) -> str:
        """Writes one line: `epoch 3/30 26/26  loss 1.90 (cls ...)  lr ...  img/s  eta 5:20`."""
        parts = [
            f"epoch {self.epoch}/{self.epochs} {self.batch}/{self.batches}",
            f"loss {self.loss:.3f} (cls {self.loss_cls:.3f}"
            f" iou {self.loss_iou:.3f} dfl {self.loss_dfl:.3f})",
            f"lr {self.lr:.2e}",
            "- img/s" if self.images_per_s is None else f"{self.images_per_s:.1f} img/s",
            "data -" if self.data_wait_share is None else f"data {self.data_wait_share:.0%}",
            f"eta {clock_text(self.eta_s)}",
        ]
        if self.scored is not None:
            parts.append(f"validating {self.scored}/{self.to_score}")
        if self.is_validated:
            parts.append(self._figures())
        return "  ".join(parts)

    def _figures(self) -> str:
        if self.ap is None or self.ap50 is None:
            return "AP undefined: no boxes in validation"
        figures = f"AP {self.ap:.4f} AP50 {self.ap50:.4f}"
        if not self.detections:
            return f"{figures} (no score above {EVAL_NMS.score_threshold:g} yet)"
        return f"{figures} best" if self.is_best and self.ap else figures


def clock_text(seconds: float) -> str:
    """Writes seconds as m:ss or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
