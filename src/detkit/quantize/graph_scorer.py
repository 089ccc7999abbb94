"""The measuring side of quantization: a network as the graph an engine runs, its AP, its time.

Every figure of a report is taken here, on the graph as exported, never on the network in torch
(but for the one that says so).
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from detkit.artifact.artifact import Manifest
from detkit.artifact.writing import temporary_folder
from detkit.core.boxes import EVAL_NMS, Array
from detkit.data.coco.folder import require_boxes
from detkit.data.coco.split_reader import ImageRecord
from detkit.data.eval_loader import eval_batches
from detkit.engines.coverage import coverage
from detkit.engines.int8_graph import for_engine
from detkit.engines.opening import open_session
from detkit.engines.torch.session import TorchSession
from detkit.evaluation.evaluate import coco_figures, detect
from detkit.export.graph import build_graph, write_onnx
from detkit.nn.detector import Detector
from detkit.nn.quantization.quantized import QuantizedDetector
from detkit.report import EngineFigures
from detkit.runtime.session import Session, SessionOptions
from detkit.spec.preprocess import Preprocess
from detkit.timing.measure import cycle_inputs
from detkit.timing.side_by_side import SideBySide, time_side_by_side

NUM_INPUTS = 8  # different images, in turn
BATCH_SIZE = 8


def timing_inputs(records: Sequence[ImageRecord], preprocess: Preprocess) -> tuple[Array, ...]:
    """The first few images, a batch of one each, to be timed in turn."""
    batches = eval_batches(records[:NUM_INPUTS], preprocess, 1)
    return tuple(batch.images for batch in batches)


@dataclass(frozen=True)
class ExportedGraph:
    """A network exported to a temporary file and opened."""

    path: Path
    session: Session

    @property
    def bytes(self) -> int:
        return self.path.stat().st_size


class GraphScorer:
    """AP and time of networks as exported graphs; a context manager, for their folder is temporary.

    `records` are scored, the first few of them timed. Each engine has one float graph, that of
    `parent`, to hold INT8 against.
    """

    def __init__(
        self,
        parent: Detector,
        manifest: Manifest,
        records: Sequence[ImageRecord],
        class_names: Sequence[str],
        *,
        threads: int,
    ) -> None:
        require_boxes(records, "the images to score on")
        self.manifest, self.records, self.class_names = manifest, records, class_names
        self.threads = threads
        self._parent = parent
        self._open = contextlib.ExitStack()
        self._folder = self._open.enter_context(temporary_folder())
        self._floats: dict[str, ExportedGraph] = {}
        self._float_aps: dict[str, float] = {}
        self._inputs: tuple[Array, ...] = ()
        self._count = 0

    def __enter__(self) -> GraphScorer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    def export(self, model: Detector, engine: str) -> ExportedGraph:
        """Exports for `engine` and opens the graph there."""
        raw = build_graph(copy.deepcopy(model).cpu(), self.manifest)  # it may train on a GPU
        graph = for_engine(raw, engine) if isinstance(model, QuantizedDetector) else raw
        self._count += 1
        path = self._folder / f"{self._count}.onnx"
        write_onnx(graph, dataclasses.replace(self.manifest, kind="onnx", form="deployed"), path)
        session_options = SessionOptions(threads=self.threads)
        return ExportedGraph(
            path, open_session(path, engine=engine, session_options=session_options)
        )

    def float_graph(self, engine: str) -> ExportedGraph:
        """The parent on this engine, exported once."""
        if engine not in self._floats:
            self._floats[engine] = self.export(self._parent, engine)
        return self._floats[engine]

    def ap(self, session: Session) -> float:
        """Scores a session: AP 0..1 of the records."""
        found = detect(session, self.records, batch_size=BATCH_SIZE, nms=EVAL_NMS)
        ap = coco_figures(self.records, self.class_names, found).ap
        assert ap is not None  # there are boxes
        return ap

    def float_ap(self, engine: str) -> float:
        """AP of the parent on this engine, scored once."""
        if engine not in self._float_aps:
            self._float_aps[engine] = self.ap(self.float_graph(engine).session)
        return self._float_aps[engine]

    def ap_in_torch(self, model: Detector) -> float:
        return self.ap(TorchSession(model, self.manifest, SessionOptions(threads=self.threads)))

    def time(self, graphs: Sequence[ExportedGraph]) -> SideBySide:
        """Times a graph, or two by turns, on their engines, one image a run."""
        if not self._inputs:
            self._inputs = timing_inputs(self.records, self.manifest.preprocess)
        calls = [cycle_inputs(graph.session.run, self._inputs) for graph in graphs]
        return time_side_by_side(calls, threads=self.threads)

    def figures(self, model: QuantizedDetector, engine: str) -> EngineFigures:
        """Measures INT8 beside float on one engine."""
        parent, graph = self.float_graph(engine), self.export(model, engine)
        timed = self.time([parent, graph])
        covered = coverage(graph.path, engine)
        return EngineFigures(
            runtime=engine,
            ap_float=self.float_ap(engine),
            ap_int8=self.ap(graph.session),
            float_latency_ms=timed.p50_ms[0],
            latency_ms=timed.p50_ms[1],
            latency_ratio=None if timed.ratio is None else timed.ratio.value,
            clock=timed.clock,
            convolutions=covered.total,
            int8_convolutions=covered.int8,
            coverage=covered.share,
            float_bytes=parent.bytes,
            bytes=graph.bytes,
        )
