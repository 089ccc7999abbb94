"""How long each purpose measures: every plan of warm-up, runs and blocks, side by side."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class TimingPlan:
    """How long to measure a model: both floors hold, whichever takes longer."""

    min_seconds: float = 3.0
    min_runs: int = 200
    blocks: int = 20
    warmup_seconds: float = 0.5
    max_warmup_seconds: float = 10.0
    steady: float = 0.02  # the warm-up ends when a window is not faster by more than this
    max_chain_runs: int = 50  # of the end-to-end chain; it never runs more often than `min_runs`

    @property
    def min_runs_per_block(self) -> int:
        return math.ceil(self.min_runs / self.blocks)

    @property
    def chain_runs(self) -> int:
        return min(self.min_runs, self.max_chain_runs)


# A variant of a checkpoint among all others that engines here can run.
VARIANT_PLAN = TimingPlan(
    min_seconds=2.0, min_runs=40, blocks=10, warmup_seconds=0.3, max_warmup_seconds=3.0
)
# A graph beside its twin in another precision.
GRAPH_PLAN = TimingPlan(
    min_seconds=1.0, min_runs=30, blocks=10, warmup_seconds=0.3, max_warmup_seconds=3.0
)
# An architecture of a search beside the reference network.
TRIAL_PLAN = TimingPlan(
    min_seconds=0.3, min_runs=12, blocks=3, warmup_seconds=0.1, max_warmup_seconds=1.5
)
# A network of a profile, which is measured again in later rounds.
SAMPLE_PLAN = TimingPlan(
    min_seconds=0.2, min_runs=8, blocks=1, warmup_seconds=0.0, max_warmup_seconds=0.0
)
# A first look, to say how long a measurement will take.
PROBE_PLAN = TimingPlan(warmup_seconds=0.0, max_warmup_seconds=1.0)
