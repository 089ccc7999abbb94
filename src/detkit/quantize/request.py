"""What is quantized, and on what: the request as the user made it, checked and opened."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from detkit.artifact.artifact import Manifest
from detkit.config import QuantizeConfig
from detkit.core.errors import ArtifactError, BackendError, UsageError, did_you_mean
from detkit.core.lazy_import import install_hint
from detkit.data.coco.classes import in_class_order
from detkit.data.coco.folder import CocoFolder, open_folder, require_usable
from detkit.data.coco.selection import as_trained
from detkit.engines import AUTO, ENGINES, default_engine, measuring_engines
from detkit.engines.torch.session import find_device
from detkit.nn.checkpoint import load_checkpoint
from detkit.nn.detector import Detector, fuse
from detkit.spec.arch import TRAINED_AS


@dataclass(frozen=True, kw_only=True)
class QuantizeRequest:
    """What the user asked for. `max_drop` is in points of AP; None sets no bound.

    `pick` is the index of a point in the table to take in place of the first that holds.
    """

    checkpoint: Path
    out: Path
    data: Path
    config: QuantizeConfig
    max_drop: float | None = None
    pick: int | None = None
    qat: bool = False
    resume: bool = False  # an interrupted QAT run
    force: bool = False

    def __post_init__(self) -> None:
        if self.config.target == AUTO:
            config = dataclasses.replace(self.config, target=default_engine().name)
            object.__setattr__(self, "config", config)

    @property
    def run_folder(self) -> Path:
        """The folder in which QAT keeps its state."""
        return self.out.with_suffix(".qat")


@dataclass(frozen=True, kw_only=True)
class FloatParent:
    """The float network to quantize: the checkpoint, fused, and its images."""

    manifest: Manifest
    model: Detector
    folder: CocoFolder


def open_parent(request: QuantizeRequest) -> FloatParent:
    """Loads and checks what is quantized and what it is calibrated and scored on.

    The classes of the folder, which may be in any order, come in that of the model.

    Raises:
        DataError: an unusable folder, or other classes than the model's.
        ArtifactError: not a float detkit checkpoint.
        UsageError: a target that cannot measure, or --qat of a head that cannot be trained.
        BackendError: the target engine is not installed, or no such device.
    """
    if request.config.target not in measuring_engines():
        raise UsageError(
            f"INT8 cannot be measured here on target '{request.config.target}'",
            hint=did_you_mean(request.config.target, measuring_engines()),
        )
    if not ENGINES[request.config.target].is_installed:
        raise BackendError(
            f"{request.config.target} is not installed",
            hint=install_hint(ENGINES[request.config.target].module),
        )
    find_device(request.config.device)
    model, manifest = load_checkpoint(request.checkpoint)
    if request.qat and manifest.arch.family in TRAINED_AS:
        raise UsageError(
            f"--qat: the head of {manifest.arch.name} is not one that detkit trains",
            hint="quantize without --qat, or fine-tune it first: detkit train --init",
        )
    if manifest.quant is not None:
        raise ArtifactError(
            f"{request.checkpoint} is INT8 already", hint="quantize its float parent"
        )
    folder = open_folder(request.data, splits=("train", request.config.split))
    require_usable(folder, max_dropped_share=request.config.max_dropped)
    parts = {name: as_trained(split, manifest) for name, split in folder.splits.items()}
    folder = in_class_order(dataclasses.replace(folder, splits=parts), manifest.class_names)
    fused = fuse(model.eval()) if manifest.form == "training" else model.eval()
    return FloatParent(manifest=manifest, model=fused.requires_grad_(False), folder=folder)
