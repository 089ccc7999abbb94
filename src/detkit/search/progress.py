"""What a search tells its caller while it runs, and how the caller stops it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from detkit.search.latency import latency_text
from detkit.train.loop import Interruption


@dataclass(frozen=True, kw_only=True)
class Status:
    """Where a study stands after a trial."""

    trials: int
    total: int
    figures: Mapping[str, float]
    best_score: float
    front: int
    hypervolume: float
    eta_s: float

    def line(self) -> str:
        minutes, seconds = divmod(round(self.eta_s), 60)
        score, latency = self.figures["score"], self.figures["latency_ms"]
        shown = f"score {score:.4f}" if math.isfinite(score) else "over a limit, or failed"
        if math.isfinite(latency):
            shown += f"  {latency_text(latency, self.figures['latency_error'])}"
        return (
            f"trial {self.trials}/{self.total}  {shown}"
            f"  best {self.best_score:.4f}  front {self.front}"
            f"  hypervolume {self.hypervolume:.4f}  eta {minutes}:{seconds:02d}"
        )


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """`log` takes lines, `notify` every trial; a signal in `interruption` ends the search."""

    log: Callable[[str], None] = lambda _: None
    notify: Callable[[Status], None] = lambda _: None
    interruption: Interruption = field(default_factory=Interruption)
