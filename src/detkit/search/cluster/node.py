"""What runs on the nodes of a cluster: stateless functions of what they are given.

What lives here: the work and its result. What does not: Ray, which carries both
(`search.cluster.ray`).
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from detkit.artifact.artifact import versions
from detkit.artifact.writing import temporary_folder
from detkit.config import SearchConfig
from detkit.core.reading import bytes_of
from detkit.engines import engine_packages
from detkit.machine.fingerprint import fingerprint
from detkit.nn.detector import Cost
from detkit.search.cluster.executor import score_figures
from detkit.search.scoring.evaluators import Evaluator, Score, SharingEvaluator, make_evaluator
from detkit.search.scoring.latency import LatencyMeter
from detkit.spec.arch import ArchSpec
from detkit.train.stop import StopSignal
from detkit.untrained import EngineSetup


@dataclass(frozen=True, kw_only=True)
class TaskResult:
    """The result that a node sends back; `machine` of a measurement, `checkpoint` of a training."""

    figures: dict[str, float]
    failure: str = ""
    machine: dict[str, str] | None = None
    checkpoint: bytes = b""


@dataclass(frozen=True, kw_only=True)
class WorkerInfo:
    """The version of detkit on a node, and whether it has the data."""

    version: str
    has_data: bool


@dataclass(frozen=True, kw_only=True)
class SharedWeights:
    """The content of shared weights, sent to each node; equal where the digest is equal.

    An array, as the workers of a node then read one copy of it.
    """

    digest: str
    content: npt.NDArray[np.uint8] = field(compare=False, repr=False)


def serialize_weights(evaluator: SharingEvaluator) -> SharedWeights:
    content = evaluator.dump_weights()
    digest = hashlib.sha256(content).hexdigest()
    return SharedWeights(digest=digest, content=np.frombuffer(content, np.uint8))


def ping(data: str) -> WorkerInfo:
    return WorkerInfo(version=versions()["detkit"], has_data=not data or Path(data).is_dir())


@functools.lru_cache(maxsize=1)
def meter_of(setup: EngineSetup) -> LatencyMeter:
    """Opens the meter of a worker process once: its reference network takes long to build."""
    return LatencyMeter(setup)


def measure(setup: EngineSetup, spec: ArchSpec) -> TaskResult:
    return TaskResult(figures=meter_of(setup)(spec), machine=fingerprint(engine_packages()))


def score(
    config: SearchConfig, shared: SharedWeights | None, spec: ArchSpec, cost: Cost
) -> TaskResult:
    """Scores an architecture; a training sends its checkpoint along, shared weights do not."""
    if shared:
        return _task_result(sharing_of(config, shared)(spec, cost))
    with temporary_folder() as folder:
        return _task_result(make_evaluator(config, folder, StopSignal())(spec, cost))


@functools.lru_cache(maxsize=1)
def sharing_of(config: SearchConfig, shared: SharedWeights) -> Evaluator:
    """Opens the shared weights and the data once in a worker process."""
    with temporary_folder() as folder:
        evaluator = make_evaluator(config, folder, StopSignal())
        assert isinstance(evaluator, SharingEvaluator)
        evaluator.load_weights(shared.content.tobytes())
    return evaluator


def _task_result(found: Score | None) -> TaskResult:
    assert found is not None  # nothing interrupts it but its end
    checkpoint = bytes_of(Path(found.checkpoint)) if found.checkpoint else b""
    return TaskResult(figures=score_figures(found), failure=found.failure, checkpoint=checkpoint)
