"""Structural re-parameterization: trained branches become single convolutions, and it is measured.

RepVGG, arXiv 2101.03697; QARepVGG, arXiv 2212.01593. The maths is in `nn.qarep`.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from detkit.artifact.artifact import command_line, parent_of, versions
from detkit.core.errors import ArtifactError
from detkit.data.comparison_images import comparison_images
from detkit.engines import TRAINING
from detkit.engines.torch.session import TorchSession
from detkit.nn.checkpoint import load_checkpoint, save_checkpoint
from detkit.nn.detector import cost_metrics, fuse
from detkit.report import ConversionReport
from detkit.runtime.comparison import compare_raw
from detkit.runtime.session import SessionOptions

NUM_IMAGES = 8


def fuse_checkpoint(checkpoint: Path, out: Path, *, data: Path | None = None) -> ConversionReport:
    """Writes the fused form of `checkpoint` to `out`; images for the comparison from `data`.

    Raises:
        ArtifactError: not a detkit checkpoint, or fused already.
    """
    model, parent = load_checkpoint(checkpoint)
    if parent.form != "training":
        raise ArtifactError(f"{checkpoint} is fused already")
    model.eval()
    deployed = fuse(model)
    images, source = comparison_images(
        data or "", parent.preprocess, NUM_IMAGES, recorded=parent.data
    )
    before = TorchSession(model, parent, SessionOptions())
    after = TorchSession(deployed, parent, SessionOptions())
    difference = compare_raw(before, after, images, source=source)
    cost = cost_metrics(parent.arch)
    metrics = {"difference_score": difference.score, "difference_box_px": difference.box_px}
    manifest = dataclasses.replace(
        parent,
        form="deployed",
        parents=(parent_of(checkpoint),),
        command=command_line("reparam"),
        versions=versions(TRAINING.package),
        metrics={**parent.metrics, **cost, **metrics},
    )
    save_checkpoint(out, deployed, manifest)
    return ConversionReport(
        file=str(out),
        parent=str(checkpoint),
        parameters=int(cost["parameters"]),
        macs=int(cost["macs"]),
        bytes=out.stat().st_size,
        difference=difference,
        licence=manifest.licence,
        weights_source=manifest.weights_source,
        notes={"tensors": f"{len(model.state_dict())} -> {len(deployed.state_dict())}"},
    )
