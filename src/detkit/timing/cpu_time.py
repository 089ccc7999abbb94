"""The least CPU time of a run: what an engine takes on a machine that also does other things.

With one thread the time is that of the calling thread, which other programs do not lengthen; ranks
of networks survive a busy machine that way and do not by medians of wall time. With several
threads, or on a GPU, there is only wall time.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial

import numpy as np

from detkit.report import Measurement
from detkit.runtime.session import Session, SessionOptions, infer
from detkit.timing.measure import WINDOW, Clock, TimedCall, cycle_inputs, measure
from detkit.timing.plan import SAMPLE_PLAN, TRIAL_PLAN, TimingPlan


def clock_name(session_options: SessionOptions) -> str:
    """Names the clock: `cpu` where one CPU thread does all the work, else `wall`."""
    return "cpu" if session_options.threads == 1 and session_options.device == "cpu" else "wall"


def clock_of(session_options: SessionOptions) -> Clock:
    return time.thread_time if clock_name(session_options) == "cpu" else time.perf_counter


def works_in_caller(run: TimedCall, threads: int) -> bool:
    """Whether the calling thread does at least half of its share of the work."""
    own, process = time.thread_time(), time.process_time()
    for number in range(WINDOW):
        run(number)
    share = (time.process_time() - process) / threads
    return time.thread_time() - own >= share / 2


def least_cpu_ms(
    sessions: Sequence[Session], *, session_options: SessionOptions, plan: TimingPlan = TRIAL_PLAN
) -> list[float]:
    """Times the sessions interleaved, one image a run; gives ms of the fastest run of each."""
    timings = measure([_call_of(session) for session in sessions], plan, clock_of(session_options))
    return [min(timing.samples_ms) for timing in timings]


def measure_session(session: Session, *, session_options: SessionOptions) -> Measurement:
    """Times one session shortly: least time, spread, and how much longer the wall clock saw."""
    clock = clock_of(session_options)
    wall, own = time.perf_counter(), clock()
    (timing,) = measure([_call_of(session)], SAMPLE_PLAN, clock)
    ratio = (time.perf_counter() - wall) / max(clock() - own, 1e-9)
    p25, p50, p75 = np.percentile(timing.samples_ms, [25, 50, 75]).tolist()
    return Measurement(
        least_ms=min(timing.samples_ms),
        p50_ms=p50,
        iqr_ms=p75 - p25,
        wall_over_cpu=ratio if clock_name(session_options) == "cpu" else 1.0,
    )


def _call_of(session: Session) -> TimedCall:
    height, width = session.manifest.preprocess.size
    images = np.random.default_rng(0).random((2, 1, 3, height, width), np.float32)
    return cycle_inputs(partial(infer, session), list(images))
