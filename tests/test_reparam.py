"""The fused checkpoint is the same detector."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import nn

from detkit.artifact.artifact import read_manifest, sha256_of
from detkit.core.errors import ArtifactError, DataError
from detkit.nn.checkpoint import load_checkpoint
from detkit.nn.detector import cost_of
from detkit.reparam import fuse_checkpoint


def test_the_fused_file_says_how_far_it_strays(checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "fused.safetensors"
    report = fuse_checkpoint(checkpoint, out)
    assert report.difference is not None
    assert 0 < report.difference.box_px < 1e-2
    assert report.difference.score < 1e-4
    assert report.difference.images == 8
    manifest = read_manifest(out)
    assert manifest.form == "deployed"
    assert manifest.parents[0].sha256 == sha256_of(checkpoint)
    assert manifest.metrics["parameters"] == cost_of(manifest.arch).parameters
    model, _ = load_checkpoint(out)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in model.modules())
    kernels = {layer.kernel_size for layer in model.modules() if isinstance(layer, nn.Conv2d)}
    assert kernels == {(1, 1), (3, 3)}


def test_a_fused_checkpoint_is_not_fused_again(checkpoint: Path, tmp_path: Path) -> None:
    fuse_checkpoint(checkpoint, tmp_path / "fused.safetensors")
    with pytest.raises(ArtifactError, match="fused already"):
        fuse_checkpoint(tmp_path / "fused.safetensors", tmp_path / "twice.safetensors")


def test_a_named_folder_without_images_is_an_error(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError):
        fuse_checkpoint(checkpoint, tmp_path / "fused.safetensors", data=tmp_path)
    assert not (tmp_path / "fused.safetensors").exists()
