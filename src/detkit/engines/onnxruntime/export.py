"""Checkpoint -> one ONNX file, for ONNX Runtime, OpenVINO, or TensorRT on another machine."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import onnx

from detkit.artifact.artifact import read_manifest, size_of
from detkit.artifact.writing import temporary_folder
from detkit.core.errors import ArtifactError, UsageError
from detkit.engines.convert import FileFormat, convert_checkpoint
from detkit.engines.exporting import ExportOptions
from detkit.engines.tensorrt.rules import lint
from detkit.export.graph import write_onnx
from detkit.export.half import to_half
from detkit.report import ConversionReport


def export(checkpoint: Path, out: Path, options: ExportOptions) -> ConversionReport:
    """Writes `out`; see `engines.convert.convert_checkpoint`.

    For TensorRT the graph is held against its rules, and with `options.half` has the types of a
    strongly typed FP16 network; it is compared before that, as no CPU runs such a graph.

    Raises:
        ArtifactError: TensorRT cannot run the graph.
    """
    if options.engine == "tensorrt":
        return _export_for_tensorrt(checkpoint, out, options)
    if options.half:
        raise UsageError(
            "--half: an ONNX file keeps its float32 weights",
            hint="--to openvino, or --target tensorrt",
        )
    return convert_checkpoint(
        checkpoint, out, options, FileFormat(suffix=".onnx", write=write_onnx)
    )


def _export_for_tensorrt(checkpoint: Path, out: Path, options: ExportOptions) -> ConversionReport:
    with temporary_folder() as folder:
        path = folder / "graph.onnx"
        report = convert_checkpoint(
            checkpoint, path, options, FileFormat(suffix=".onnx", write=write_onnx)
        )
        manifest, graph = read_manifest(path), onnx.load(path)
    typed = to_half(graph) if options.half else graph
    if faults := lint(typed):
        raise ArtifactError("TensorRT cannot run this graph: " + "; ".join(faults[:3]))
    write_onnx(typed, manifest, out)
    floats = {"floats": "fp16, the decode fp32"} if options.half else {}
    return dataclasses.replace(
        report, file=str(out), bytes=size_of(out), notes={**report.notes, **floats}
    )
