"""The latency of an architecture on this machine, timed on the graph that would be exported."""

from __future__ import annotations

import tempfile
from pathlib import Path

from detkit.bench.cpu_time import PLAN, least_cpu_ms
from detkit.prototype import write_prototype
from detkit.runtime import Placement, Session, open_session
from detkit.spec.arch import ArchSpec
from detkit.spec.zoo import ZOO, with_task

REFERENCE = "yolo-nas-p"
REFERENCE_SIZE = (160, 160)


class LatencyMeter:
    """Times one network after the other, each in turns with one that stays the same.

    Weights are fresh: latency does not depend on them. `reference_ms` tells how steady the machine
    was from candidate to candidate.
    """

    def __init__(self, *, threads: int) -> None:
        self.placement = Placement(threads=threads)
        spec = with_task(ZOO[REFERENCE], 80, REFERENCE_SIZE)
        self.reference = session_of(spec, self.placement)
        self.reference_ms: list[float] = []

    def __call__(self, spec: ArchSpec) -> float:
        """Milliseconds of CPU time a picture, see `bench.cpu_time`."""
        candidate = session_of(spec, self.placement)
        sessions = [candidate, self.reference]
        candidate_ms, reference_ms = least_cpu_ms(
            sessions, threads=self.placement.threads, plan=PLAN
        )
        self.reference_ms.append(reference_ms)
        return candidate_ms


def session_of(spec: ArchSpec, placement: Placement) -> Session:
    """The exported graph of an untrained network, opened by ONNX Runtime."""
    with tempfile.TemporaryDirectory(prefix="detkit-search-") as folder:
        path = Path(folder) / "candidate.onnx"
        write_prototype(spec, path, runtime="onnxruntime", precision="fp32")
        return open_session(path, placement=placement)
