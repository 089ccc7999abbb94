"""Where a run stands, as numbers and as the one line a person reads."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class TrainProgress:
    """Where a run is after a batch, or with `ap` after a validation. Losses are epoch means."""

    epoch: int  # counted from 1
    epochs: int
    batch: int
    batches: int
    loss: float
    loss_cls: float
    loss_iou: float
    loss_dfl: float
    lr: float
    images_per_s: float
    data_wait_share: float  # of the time spent in the epoch so far
    eta_s: float
    ap: float | None = None
    ap50: float | None = None
    is_best: bool = False

    def line(self) -> str:
        """Writes one line: `epoch 3/30 26/26  loss 1.90 (cls ...)  lr ...  img/s  eta 5:20`."""
        parts = [
            f"epoch {self.epoch}/{self.epochs} {self.batch}/{self.batches}",
            f"loss {self.loss:.3f} (cls {self.loss_cls:.3f}"
            f" iou {self.loss_iou:.3f} dfl {self.loss_dfl:.3f})",
            f"lr {self.lr:.2e}",
            f"{self.images_per_s:.1f} img/s",
            f"data {self.data_wait_share:.0%}",
            f"eta {clock_text(self.eta_s)}",
        ]
        if self.ap is not None and self.ap50 is not None:
            best = " best" if self.is_best else ""
            parts.append(f"AP {self.ap:.4f} AP50 {self.ap50:.4f}{best}")
        return "  ".join(parts)


def clock_text(seconds: float) -> str:
    """Writes seconds as m:ss or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
