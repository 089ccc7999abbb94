"""What an exported file takes over from its checkpoint."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from detkit.artifact.artifact import read_manifest
from detkit.engines.exporting import ExportOptions
from detkit.engines.onnxruntime.export import export
from detkit.nn.checkpoint import load_checkpoint, save_checkpoint
from detkit.spec.class_scope import ClassScope


def test_thresholds_and_class_scope_travel_with_the_graph(checkpoint: Path, tmp_path: Path) -> None:
    model, manifest = load_checkpoint(checkpoint)
    scope = ClassScope(kind="one", names=("x",))
    told = dataclasses.replace(manifest, score_thresholds=(0.1, 0.25, 0.5), class_scope=scope)
    save_checkpoint(tmp_path / "m.safetensors", model, told)
    export(tmp_path / "m.safetensors", tmp_path / "m.onnx", ExportOptions())
    exported = read_manifest(tmp_path / "m.onnx")
    assert exported.score_thresholds == told.score_thresholds
    assert exported.class_scope == told.class_scope
