"""benchmarks/starter_pack.py: a run's best checkpoint becomes starter weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from detkit.artifact.artifact import read_manifest, sha256_of
from detkit.nn.checkpoint import load_checkpoint, save_checkpoint
from detkit.spec.zoo import ZOO
from fixtures.command_line import Detkit

PACK = Path(__file__).parents[2] / "benchmarks" / "starter_pack.py"
RUN = f"""
import runpy, sys
sys.argv[0] = "starter_pack.py"
sys.path.insert(0, {str(PACK.parent)!r})
runpy.run_path({str(PACK)!r}, run_name="__main__")
"""


@pytest.fixture
def trained(settled: Callable[..., Path], tmp_path: Path) -> Path:
    """A checkpoint as a run from scratch leaves it, on this machine."""
    model, manifest = load_checkpoint(settled())
    path = tmp_path / "best.safetensors"
    manifest = dataclasses.replace(
        manifest,
        data="/somewhere/coco",
        command="detkit train /somewhere/coco",
        weights_source="trained from scratch",
        metrics={"ap": 0.5, "ap50": 0.7},
    )
    save_checkpoint(path, model, manifest)
    return path


def test_packed_weights_are_half_as_large_ours_and_say_nothing_of_the_machine(
    fork: Detkit, trained: Path, tmp_path: Path
) -> None:
    out = tmp_path / "packed" / "yolo-nas-p.safetensors"
    done = fork(str(trained), "--ap", "bccd=0.4", "-o", str(out), script=RUN)
    assert done.returncode == 0, done.stderr
    assert f"{out}: " in done.stdout
    manifest = read_manifest(out)
    assert (manifest.licence, manifest.weights_dtype) == ("Apache-2.0", "float16")
    assert (manifest.data, manifest.precision, manifest.form) == ("", "fp32", "training")
    assert "/somewhere" not in str(manifest)
    assert manifest.metrics == {"ap": 0.5, "ap50": 0.7, "ap_bccd": 0.4}
    assert manifest.class_names == ("a", "b", "c")
    assert manifest.parents[0].sha256 == sha256_of(trained)
    assert out.stat().st_size < 0.6 * trained.stat().st_size
    (packed, _), (before, _) = load_checkpoint(out), load_checkpoint(trained)
    assert packed.state_dict().keys() == before.state_dict().keys()


def test_weights_of_others_and_those_that_float16_cannot_hold_are_not_packed(
    fork: Detkit, trained: Path, tmp_path: Path
) -> None:
    out = tmp_path / "packed.safetensors"
    model, manifest = load_checkpoint(trained)
    theirs = dataclasses.replace(manifest, weights_source="yolo_nas_s.pth")
    save_checkpoint(tmp_path / "theirs.safetensors", model, theirs)
    done = fork(str(tmp_path / "theirs.safetensors"), "-o", str(out), script=RUN)
    assert done.returncode != 0
    assert "was not trained from scratch: yolo_nas_s.pth" in done.stderr
    with torch.no_grad():
        model.get_parameter("heads.head1.reg_pred.weight")[0, 0] = 1e6
    save_checkpoint(tmp_path / "large.safetensors", model, manifest)
    done = fork(str(tmp_path / "large.safetensors"), "-o", str(out), script=RUN)
    assert done.returncode != 0
    assert "heads.head1.reg_pred.weight holds 1e+06: beyond float16" in done.stderr
    other = dataclasses.replace(manifest, arch=dataclasses.replace(manifest.arch, name="mine"))
    assert "mine" not in ZOO
    save_checkpoint(tmp_path / "other.safetensors", model, other)
    done = fork(str(tmp_path / "other.safetensors"), "-o", str(out), script=RUN)
    assert "no trainable checkpoint of a named architecture" in done.stderr
    assert not out.exists()
