"""Checkpoint -> one ONNX file."""

from __future__ import annotations

from pathlib import Path

from detkit.errors import UsageError
from detkit.export import ExportOptions
from detkit.export.convert import Target, convert
from detkit.export.graph import write_onnx
from detkit.report import ConversionReport


def export(checkpoint: Path, out: Path, options: ExportOptions) -> ConversionReport:
    """Writes `out`; see `export.convert.convert`."""
    if options.half:
        raise UsageError("--half: an ONNX file keeps its float32 weights", hint="--to openvino")
    return convert(checkpoint, out, options, Target(suffix=".onnx", write=write_onnx))
