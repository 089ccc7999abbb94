"""The least CPU time of a run: what an engine takes on a machine that also does other things.

With one thread the time is that of the calling thread, which other programs do not lengthen; ranks
of networks survive a busy machine that way and do not by medians of wall time. With several threads
there is only wall time.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from detkit.bench.measure import Plan, Run, measure
from detkit.runtime import Session, infer

PLAN = Plan(min_seconds=0.3, min_runs=12, blocks=3, warmup_seconds=0.1, max_warmup_seconds=1.5)


def least_cpu_ms(sessions: Sequence[Session], *, threads: int, plan: Plan = PLAN) -> list[float]:
    """Milliseconds of the fastest run of each session, which take turns; one picture a run."""
    clock = time.thread_time if threads == 1 else time.perf_counter
    rng = np.random.default_rng(0)

    def run_of(session: Session) -> Run:
        height, width = session.manifest.preprocess.size
        pictures = rng.random((2, 1, 3, height, width), np.float32)
        return lambda number: infer(session, pictures[number % 2])

    timings = measure([run_of(session) for session in sessions], plan, clock)
    return [min(timing.samples_ms) for timing in timings]
