"""A detector on disk: safetensors weights with the manifest in the header. No pickle anywhere."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from detkit.artifact.artifact import (
    METADATA_KEY,
    Manifest,
    TensorInfo,
    read_manifest,
    write_artifact,
)
from detkit.core.errors import ArtifactError, UsageError
from detkit.core.memory import available_memory
from detkit.nn.detector import Detector, build_detector
from detkit.nn.quantization.quantized import QuantizedDetector
from detkit.nn.tensor_file import write_tensors
from detkit.spec.arch import ArchSpec

MANY_WEIGHTS = 10_000_000  # by `ArchSpec.least_weights`, four times the largest of the zoo
TRAINING_BYTES = 16  # of a weight: itself, its gradient, its momentum and its average


def save_checkpoint(path: Path, model: Detector, manifest: Manifest) -> Manifest:
    """Writes weights and manifest atomically; returns the manifest as sealed.

    With `manifest.weights_dtype` float16 kernels are rounded to it. Vectors are not: they are
    small, and variances of batch-norms have a wider range.
    """
    tensors = {name: tensor.detach().contiguous() for name, tensor in model.state_dict().items()}
    if manifest.weights_dtype == "float16":
        kernels = {n: t.half() for n, t in tensors.items() if t.is_floating_point() and t.ndim > 1}
        tensors |= kernels

    def write(partial: Path, manifest_json: str) -> None:
        write_tensors(partial, tensors, {METADATA_KEY: manifest_json})

    return write_artifact(path, manifest, write)


def load_checkpoint(path: Path, manifest: Manifest | None = None) -> tuple[Detector, Manifest]:
    """The detector on the CPU, in the form it was saved in, and its manifest.

    Weights that lie in float16 are widened: network and manifest are those of float32 weights.

    Args:
        manifest: as already read from `path` and verified; read here by default.

    Raises:
        ArtifactError: not a detkit checkpoint, damaged, or its tensors do not fit its ArchSpec.
    """
    manifest = manifest or read_manifest(path)
    if manifest.kind != "checkpoint":
        raise ArtifactError(f"{path} is not a checkpoint but of kind '{manifest.kind}'")
    try:
        tensors = safetensors.torch.load_file(path)
    except (SafetensorError, OSError) as error:
        raise ArtifactError(f"{path}: cannot read the weights: {error}") from error
    tensors = {n: t.float() if t.dtype == torch.float16 else t for n, t in tensors.items()}
    model = build_detector(manifest.arch, manifest.form)
    if manifest.quant is not None:
        model = QuantizedDetector(model, manifest.quant)
    assign_strictly(model, tensors, where=str(path))
    return model, dataclasses.replace(manifest, weights_dtype="float32")


def assign_strictly(model: Detector, tensors: dict[str, Tensor], *, where: str) -> None:
    """Gives `model` (also on the meta device) these weights; every name and shape must fit."""
    wanted = {name: tensor.shape for name, tensor in model.state_dict().items()}
    missing = sorted(wanted.keys() - tensors.keys())
    extra = sorted(tensors.keys() - wanted.keys())
    wrong = sorted(n for n in wanted.keys() & tensors.keys() if wanted[n] != tensors[n].shape)
    for fault, names in (("missing", missing), ("unknown", extra), ("of another shape", wrong)):
        if names:
            shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
            raise ArtifactError(f"{where}: {len(names)} tensors {fault}: {shown}")
    model.load_state_dict(tensors, strict=True, assign=True)


def new_detector(spec: ArchSpec, seed: int) -> Detector:
    """A detector with freshly drawn weights: the same seed, the same weights.

    Raises:
        UsageError: more weights than there is memory.
    """
    if spec.least_weights > MANY_WEIGHTS:
        _check_fits(spec)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Detector(spec)


def _check_fits(spec: ArchSpec) -> None:
    """Raises UsageError where training `spec` needs more memory than there is for weights alone."""
    weights = sum(item.numel() for item in build_detector(spec, "training").parameters())
    needed, available = TRAINING_BYTES * weights, available_memory()
    if 0 < available < needed:
        raise UsageError(
            f"arch {spec.name}: {weights / 1e6:.0f} M weights, which take {needed / 1e9:.0f} GB to"
            f" train, and there are {available / 1e9:.1f} GB of memory",
            hint="fewer blocks or narrower stages",
        )


def input_output(spec: ArchSpec) -> tuple[tuple[TensorInfo, ...], tuple[TensorInfo, ...]]:
    """The contract every raw model keeps: images in, decoded boxes and scores out."""
    height, width = spec.image_size
    images = TensorInfo(name="images", dtype="float32", shape=("batch", 3, height, width))
    boxes = TensorInfo(name="boxes", dtype="float32", shape=("batch", spec.num_anchors, 4))
    scores = TensorInfo(
        name="scores", dtype="float32", shape=("batch", spec.num_anchors, spec.num_classes)
    )
    return (images,), (boxes, scores)
