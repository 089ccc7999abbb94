"""Packs a run's best checkpoint as the starter weights that detkit ships.

    python benchmarks/starter_pack.py RUN/best.safetensors [--ap SET=AP ...] [-o FILE]

Kernels are rounded to float16; architecture, class names and class predictors stay, so that users
whose classes have the same names keep those too. What tells of the machine (paths, the command) is
left out. The file is read back and compared with the run's on drawn images before it gets its name:
src/detkit/starter/ARCHITECTURE.safetensors.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from pathlib import Path

import torch

from detkit.artifact.artifact import Manifest, parent_of
from detkit.artifact.licence import FROM_SCRATCH
from detkit.artifact.writing import atomic_path
from detkit.core.errors import ArtifactError, GateError
from detkit.data.comparison_images import comparison_images
from detkit.engines.torch.session import TorchSession
from detkit.nn.checkpoint import load_checkpoint, save_checkpoint
from detkit.nn.detector import Detector
from detkit.report import Difference
from detkit.runtime.comparison import compare_raw
from detkit.runtime.session import SessionOptions
from detkit.spec.zoo import ZOO
from detkit.starter import FOLDER, SUFFIX

LICENCE = "Apache-2.0"
NUM_IMAGES = 16
MAX_SCORE_DIFFERENCE = 0.02  # of weights rounded to float16; a trained network: 0.002
MAX_BYTES = {"yolo-nas-n": 6_000_000}
HALF_MOST = torch.finfo(torch.float16).max


def pack(
    checkpoint: Path, out: Path, *, metrics: dict[str, float], force_source: bool = False
) -> tuple[Manifest, Difference]:
    """Writes `out`; returns its manifest, and how far it is from `checkpoint`.

    Args:
        metrics: figures to record beside those of the checkpoint.
        force_source: pack weights that were not trained from scratch by detkit.

    Raises:
        ArtifactError: no float checkpoint in training form of a named architecture, or weights
            that are somebody else's.
        GateError: it strays too far, or the file is too large; nothing is written.
    """
    model, manifest = load_checkpoint(checkpoint)
    name = manifest.arch.name
    if manifest.form != "training" or manifest.quant is not None or name not in ZOO:
        raise ArtifactError(f"{checkpoint} is no trainable checkpoint of a named architecture")
    if manifest.weights_source != FROM_SCRATCH and not force_source:
        raise ArtifactError(
            f"{checkpoint} was not trained from scratch: {manifest.weights_source or 'not stated'}",
            hint="--any-source where every weight it descends from is ours",
        )
    _check_range(model)
    packed = dataclasses.replace(
        manifest,
        parents=(parent_of(checkpoint),),
        command="benchmarks/starter_pack.py",
        data="",
        metrics={**manifest.metrics, **metrics},
        licence=LICENCE,
        weights_source=f"detkit starter weights {name}, see MODEL_CARD.md in detkit/starter",
        weights_dtype="float16",
    )
    with tempfile.TemporaryDirectory(prefix="detkit-") as folder:
        trial = Path(folder) / f"{name}{SUFFIX}"
        sealed = save_checkpoint(trial, model, packed)
        difference = _difference(model, trial)
        size, limit = trial.stat().st_size, MAX_BYTES.get(name)
        if difference.score > MAX_SCORE_DIFFERENCE:
            raise GateError(f"float16 moves a score by {difference.score:.1e}")
        if limit and size > limit:
            raise GateError(f"{size / 1e6:.2f} MB, and {limit / 1e6:.2f} MB are allowed")
        with atomic_path(out) as partial:
            partial.write_bytes(trial.read_bytes())
    return sealed, difference


def _check_range(model: Detector) -> None:
    """Raises ArtifactError for a kernel that float16 cannot hold."""
    for name, tensor in model.state_dict().items():
        largest = float(tensor.abs().max()) if tensor.ndim > 1 else 0.0
        if not largest <= HALF_MOST:
            raise ArtifactError(f"{name} holds {largest:g}: beyond float16")


def _difference(model: Detector, path: Path) -> Difference:
    """How far the file is from the network in memory, on drawn images."""
    again, manifest = load_checkpoint(path)
    images, source = comparison_images("", manifest.preprocess, NUM_IMAGES, recorded="")
    before = TorchSession(model.eval(), manifest, SessionOptions())
    after = TorchSession(again.eval(), manifest, SessionOptions())
    return compare_raw(before, after, images, source=source, least_score=0.1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--ap", action="append", default=[], metavar="SET=AP", help="a figure")
    parser.add_argument("--any-source", action="store_true", help="not trained from scratch")
    parser.add_argument("-o", "--out", type=Path, help="else into the package")
    args = parser.parse_args()
    figures = dict(text.split("=", 1) for text in args.ap)
    metrics = {f"ap_{name}": float(value) for name, value in figures.items()}
    _, manifest = load_checkpoint(args.checkpoint)
    out = args.out or FOLDER / f"{manifest.arch.name}{SUFFIX}"
    sealed, difference = pack(args.checkpoint, out, metrics=metrics, force_source=args.any_source)
    print(
        f"{out}: {out.stat().st_size / 1e6:.2f} MB, {len(sealed.class_names)} classes,"
        f" {sealed.licence}; float16 moves scores by {difference.score:.1e}, boxes by"
        f" {difference.box_px:.2f} px at most"
    )


if __name__ == "__main__":
    main()
