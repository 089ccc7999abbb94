"""The latency of an architecture: timed on this machine, or predicted for another one.

Timed is the graph that would be exported, in the precision asked for. Both give the figures of a
trial: `latency_ms`, the share `latency_error` it may be wrong by (0 where it is timed), the
`latency_bound_ms` that limits are held against, and `reference_ms` of a network that stays the
same, timed in turns with the candidate, which tells how steady the machine was.
"""

from __future__ import annotations

import math
from pathlib import Path

from detkit.config import SearchConfig
from detkit.core.serialization import digest_of
from detkit.engines import find_engine
from detkit.profile.predict import ProfileQuery, open_profile, predict_ms
from detkit.report import LatencyFit
from detkit.runtime.session import SessionOptions
from detkit.search.scoring.objective import with_bound
from detkit.spec.arch import ArchSpec
from detkit.spec.space import SearchSpace
from detkit.timing.cpu_time import least_cpu_ms
from detkit.untrained import EngineSetup


class LatencyMeter:
    """Times one network after the other."""

    def __init__(self, setup: EngineSetup) -> None:
        """Raises BackendError where the engine or the device is not here."""
        self.setup = setup
        self.reference = setup.open_reference()

    def __call__(self, spec: ArchSpec) -> dict[str, float]:
        """Times a network, in CPU time where an engine takes that: see `timing.cpu_time`."""
        sessions = [self.setup.open(spec), self.reference]
        session_options = self.setup.session_options
        candidate_ms, reference_ms = least_cpu_ms(sessions, session_options=session_options)
        return {**with_bound(candidate_ms, 0.0), "reference_ms": reference_ms}


class LatencyPredictor:
    """Predicts from the fit of a HardwareProfile."""

    def __init__(self, fit: LatencyFit) -> None:
        self.fit = fit
        self.source = digest_of(fit)  # what a resumed study must find again

    def __call__(self, spec: ArchSpec) -> dict[str, float]:
        found = with_bound(predict_ms(self.fit, spec), self.fit.mape)
        return {**found, "reference_ms": math.nan}


def timing_setup(config: SearchConfig) -> EngineSetup:
    """The engine, precision and device that candidates are timed with.

    Raises:
        UsageError: a precision the engine does not compute in.
    """
    session_options = SessionOptions(device=config.device, threads=config.threads)
    return EngineSetup(
        engine=find_engine(config.runtime).name,
        precision=config.precision,
        session_options=session_options,
    )


def open_predictor(config: SearchConfig, space: SearchSpace) -> LatencyPredictor | None:
    """Opens the latency profile that the settings name; None where they name none.

    Raises:
        UsageError: a profile of something else.
    """
    if not config.latency_profile:
        return None
    wanted = ProfileQuery(
        space=space,
        engine=find_engine(config.runtime).name,
        precision=config.precision,
        threads=config.threads,
    )
    return LatencyPredictor(open_profile(Path(config.latency_profile), wanted))


def latency_text(latency_ms: float, error: float) -> str:
    """A latency as text, with its error where it is predicted."""
    if not error:
        return f"{latency_ms:.2f} ms"
    return f"predicted {latency_ms:.2f} ms +- {error:.0%}"
