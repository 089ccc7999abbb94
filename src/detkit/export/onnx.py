"""Checkpoint -> one ONNX file."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import ModelProto

from detkit.artifact import METADATA_KEY, Manifest, write_artifact
from detkit.errors import UsageError
from detkit.export import ExportOptions
from detkit.export.convert import Target, convert
from detkit.report import ConversionReport


def export(checkpoint: Path, out: Path, options: ExportOptions) -> ConversionReport:
    """Writes `out`; see `export.convert.convert`."""
    if options.half:
        raise UsageError("--half: an ONNX file keeps its float32 weights", hint="--to openvino")
    return convert(checkpoint, out, options, Target(suffix=".onnx", write=write_onnx))


def write_onnx(graph: ModelProto, manifest: Manifest, out: Path) -> Manifest:
    """Writes a graph whose metadata is the manifest alone; returns the manifest as sealed."""

    def write(partial: Path, manifest_json: str) -> None:
        sealed = ModelProto()
        sealed.CopyFrom(graph)
        del sealed.metadata_props[:]
        entry = sealed.metadata_props.add()
        entry.key, entry.value = METADATA_KEY, manifest_json
        onnx.save(sealed, partial)

    return write_artifact(out, manifest, write)
