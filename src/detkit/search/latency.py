"""The latency of an architecture: timed on this machine, or predicted for another one.

Timed is the graph that would be exported, in the precision asked for.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from detkit.bench.cpu_time import PLAN, least_cpu_ms
from detkit.codec import digest_of
from detkit.config import SearchConfig
from detkit.profile.predict import Wanted, open_profile, predict_ms
from detkit.prototype import Setup
from detkit.report import LatencyFit
from detkit.runtime import Placement
from detkit.spec.arch import ArchSpec
from detkit.spec.space import SearchSpace
from detkit.spec.zoo import ZOO, with_task

REFERENCE = "yolo-nas-p"
REFERENCE_SIZE = (160, 160)


class Latency(Protocol):
    """Milliseconds a picture. `error` is the share they may be wrong by, 0 where they are timed.

    `reference_ms` tells how steady the machine was, `source` what a resumed study must find again.
    """

    error: float
    reference_ms: list[float]
    source: str

    def __call__(self, spec: ArchSpec) -> float: ...


class LatencyMeter:
    """Times one network after the other, each in turns with one that stays the same."""

    error = 0.0
    source = "measured"

    def __init__(self, setup: Setup) -> None:
        """Raises BackendError where the engine or the device is not here."""
        self.setup = setup
        self.reference = setup.open(with_task(ZOO[REFERENCE], 80, REFERENCE_SIZE))
        self.reference_ms: list[float] = []

    def __call__(self, spec: ArchSpec) -> float:
        """In CPU time where that is what an engine takes, see `bench.cpu_time`."""
        sessions = [self.setup.open(spec), self.reference]
        placement = self.setup.placement
        candidate_ms, reference_ms = least_cpu_ms(sessions, placement=placement, plan=PLAN)
        self.reference_ms.append(reference_ms)
        return candidate_ms


class LatencyPredictor:
    """Predicts from the fit of a HardwareProfile."""

    def __init__(self, fit: LatencyFit) -> None:
        self.fit = fit
        self.error = fit.mape
        self.reference_ms: list[float] = []
        self.source = digest_of(fit)

    def __call__(self, spec: ArchSpec) -> float:
        return predict_ms(self.fit, spec)


def make_latency(config: SearchConfig, space: SearchSpace) -> Latency:
    """From the profile that the settings name, or timed here.

    Raises:
        UsageError: a precision the runtime does not compute in, or a profile of something else.
        BackendError: the runtime or the device is not here.
    """
    if not config.latency_profile:
        placement = Placement(device=config.device, threads=config.threads)
        setup = Setup(runtime=config.runtime, precision=config.precision, placement=placement)
        return LatencyMeter(setup)
    wanted = Wanted(
        space=space, runtime=config.runtime, precision=config.precision, threads=config.threads
    )
    return LatencyPredictor(open_profile(Path(config.latency_profile), wanted))


def latency_text(latency_ms: float, error: float) -> str:
    """With its error where it is predicted."""
    if not error:
        return f"{latency_ms:.2f} ms"
    return f"predicted {latency_ms:.2f} ms +- {error:.0%}"
