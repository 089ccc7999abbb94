"""What a search reports while it runs, and how it is stopped."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from detkit.search.scoring.latency import latency_text
from detkit.train.progress import clock_text
from detkit.train.stop import StopSignal

SECONDS_BETWEEN_LINES = 10


@dataclass(frozen=True, kw_only=True)
class SearchProgress:
    """Where a study stands after a trial."""

    trials: int
    total: int
    figures: Mapping[str, float]
    best_score: float
    front: int
    hypervolume: float
    eta_s: float

    def line(self) -> str:
        score, latency = self.figures["score"], self.figures["latency_ms"]
        shown = f"score {score:.4f}" if math.isfinite(score) else "over a limit, or failed"
        if math.isfinite(latency):
            shown += f"  {latency_text(latency, self.figures['latency_error'])}"
        best = f"{self.best_score:.4f}" if math.isfinite(self.best_score) else "-"
        return (
            f"trial {self.trials}/{self.total}  {shown}"
            f"  best {best}  front {self.front}"
            f"  hypervolume {self.hypervolume:.4f}  eta {clock_text(self.eta_s)}"
        )


@dataclass(frozen=True, kw_only=True)
class SearchCallbacks:
    """`log` takes lines, `on_progress` every trial; a signal in `stop` ends the search."""

    log: Callable[[str], None] = lambda _: None
    on_progress: Callable[[SearchProgress], None] = lambda _: None
    stop: StopSignal = field(default_factory=StopSignal)


class ProgressLogger:
    """Logs a line every ten seconds, and the last one, with the time left: a `ProgressLog`."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self.log = log
        self.began_s = self.logged_s = 0.0
        self.first_left = 0  # at the first call

    def __call__(self, line: str, *, left: int) -> None:
        now_s = time.monotonic()
        if not self.first_left:
            self.began_s = self.logged_s = now_s
            self.first_left = left
        if left and now_s - self.logged_s < SECONDS_BETWEEN_LINES:
            return
        eta_s = (now_s - self.began_s) / max(self.first_left - left, 1) * left
        self.log(f"{line}, eta {clock_text(eta_s)}")
        self.logged_s = now_s
