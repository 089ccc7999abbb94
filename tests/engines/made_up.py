"""A made-up engine in one file: its record, its session, its exporter.

It runs ONNX files by numpy's reference implementation of ONNX, one operator at a time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from onnx import ModelProto
from onnx.reference import ReferenceEvaluator

from detkit.artifact.artifact import Manifest, Signature
from detkit.core.boxes import Array
from detkit.engines.convert import Target, convert
from detkit.engines.engine import Engine
from detkit.engines.exporting import ExportOptions
from detkit.export.graph import write_onnx
from detkit.report import ConversionReport
from detkit.runtime.graph_session import GraphSession
from detkit.runtime.session import Pixels, SessionOptions
from detkit.runtime.session_factory import make_session

ENGINE = Engine(
    name="abacus",
    packages=("onnx",),
    module="onnx",
    reads=("onnx",),
    precisions=("fp32",),
    without=(("fp16", "it counts in whole beads"), ("int8", "its beads have no scales")),
    open=f"{__name__}:open_session",
    open_graph=f"{__name__}:Abacus",
    exported_as="beads",
    suffix=".onnx",
    export=f"{__name__}:export",
    int8_target="onnxruntime",
)


class Abacus:
    """See `runtime.graph_session.GraphRunner`."""

    engine = "abacus"

    def __init__(self, path: Path, session_options: SessionOptions) -> None:
        self.graph = ReferenceEvaluator(str(path))
        self.input_name = self.graph.input_names[0]
        self.output_names = tuple(self.graph.output_names)

    def run(self, images: Array | Pixels, outputs: Sequence[str]) -> list[Any]:
        return list(self.graph.run(list(outputs), {self.input_name: images}))


def open_session(path: Path, manifest: Signature, session_options: SessionOptions) -> GraphSession:
    return make_session(Abacus(path, session_options), path, manifest)


def export(checkpoint: Path, out: Path, options: ExportOptions) -> ConversionReport:
    def write(graph: ModelProto, manifest: Manifest, path: Path) -> Manifest:
        return write_onnx(graph, dataclasses.replace(manifest, command="beads"), path)

    return convert(checkpoint, out, options, Target(suffix=".onnx", write=write))
