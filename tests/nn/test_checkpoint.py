"""Checkpoints on disk."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from detkit.artifact.artifact import Manifest, read_manifest
from detkit.core.errors import ArtifactError, UsageError
from detkit.nn import checkpoint
from detkit.nn.checkpoint import load_checkpoint, new_detector, save_checkpoint
from detkit.nn.detector import Detector, fuse
from detkit.spec.arch import StageSpec
from detkit.spec.preprocess import Preprocess
from detkit.spec.zoo import ZOO


def manifest_of(model: Detector, form: str = "training") -> Manifest:
    size = model.spec.image_size
    return Manifest(
        kind="checkpoint",
        arch=model.spec,
        form=form,
        class_names=("a", "b", "\u00fc"),
        preprocess=Preprocess.filling(size),
    )


def test_a_network_that_fits_into_no_memory_is_refused_before_it_is_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checkpoint, "available_memory", lambda: 64 << 30)
    wide = StageSpec(out=8192, hidden=8192, blocks=9)
    spec = dataclasses.replace(ZOO["yolo-nas-p"], stages=(*ZOO["yolo-nas-p"].stages[:3], wide))
    with pytest.raises(UsageError, match=r"M weights, which take \d+ GB to train") as caught:
        new_detector(spec, 0)
    assert caught.value.hint == "fewer blocks or narrower stages"


@pytest.mark.parametrize("form", ["training", "deployed"])
def test_saved_and_loaded_are_the_same(tiny: Detector, tmp_path: Path, form: str) -> None:
    model = fuse(tiny) if form == "deployed" else tiny
    saved = save_checkpoint(tmp_path / "m.safetensors", model, manifest_of(model, form))
    loaded, manifest = load_checkpoint(tmp_path / "m.safetensors")
    assert manifest == saved
    assert len(manifest.digest) == 64
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        for a, b in zip(model.eval()(images), loaded.eval()(images), strict=True):
            assert torch.equal(a, b)


def test_kernels_kept_in_float16_are_read_as_float32(tiny: Detector, tmp_path: Path) -> None:
    path = tmp_path / "half.safetensors"
    half = dataclasses.replace(manifest_of(tiny), weights_dtype="float16")
    save_checkpoint(path, tiny, half)
    save_checkpoint(tmp_path / "full.safetensors", tiny, manifest_of(tiny))
    assert path.stat().st_size < 0.6 * (tmp_path / "full.safetensors").stat().st_size
    assert read_manifest(path).weights_dtype == "float16"
    model, manifest = load_checkpoint(path)
    assert manifest.weights_dtype == "float32"  # what is made of it is kept in full
    for name, tensor in model.state_dict().items():
        saved = tiny.state_dict()[name]
        assert tensor.dtype == saved.dtype
        wanted = saved.half().float() if saved.ndim > 1 else saved
        assert torch.equal(tensor, wanted), name


def test_every_flipped_bit_is_noticed(tiny: Detector, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    save_checkpoint(path, tiny, manifest_of(tiny))
    data = path.read_bytes()
    for place in range(0, len(data), len(data) // 40):
        path.write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
        with pytest.raises(ArtifactError):
            load_checkpoint(path)
    path.write_bytes(data)
    assert read_manifest(path).class_names[2] == "\u00fc"


def test_weights_of_another_architecture_are_refused(tiny: Detector, tmp_path: Path) -> None:
    wrong = dataclasses.replace(tiny.spec, stem=24)
    manifest = dataclasses.replace(manifest_of(tiny), arch=wrong)
    save_checkpoint(tmp_path / "m.safetensors", tiny, manifest)
    with pytest.raises(ArtifactError, match=r"of another shape: backbone\.stage1"):
        load_checkpoint(tmp_path / "m.safetensors")
