"""What INT8 does to the outputs, without labels: by group of convolutions, by choice of ranges.

Noise is measured where the network speaks: class scores, and expected distances weighted by the
best score, so that background boxes, which nobody sees, do not count.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from detkit.core.boxes import Array
from detkit.nn.quantization.quantized import QuantizedDetector, rounding_off
from detkit.quantize.calibrate import CalibrationStats, set_ranges

WHOLE = ("percentile", "max")  # calibrators to be tried on all tensors at once
Outputs = tuple[Tensor, Tensor]  # scores (B, A, C), weighted distances (B, A, 4)


@torch.no_grad()
def sqnr_by_group(model: QuantizedDetector, batches: Sequence[Array]) -> dict[str, float]:
    """The SQNR of each group rounded alone, in decibels; worst first."""
    before = model.quant.float_groups
    with rounding_off(model):
        reference = list(_outputs(model, batches))
    noise: dict[str, float] = {}
    try:
        for group in model.plan.groups:
            model.keep_in_float(name for name in model.plan.groups if name != group)
            noise[group] = signal_to_noise(reference, _outputs(model, batches))
    finally:
        model.keep_in_float(before)
    return dict(sorted(noise.items(), key=lambda item: item[1]))


@torch.no_grad()
def set_quietest_ranges(
    model: QuantizedDetector, stats: CalibrationStats, batches: Sequence[Array]
) -> dict[str, int] | None:
    """Sets the ranges of one of `WHOLE` instead where they leave less noise at the outputs.

    The least error of a tensor may be had by cutting the few large values that detections are made
    of. Returns how many ranges are by which method; None where the present ones are the best.
    """
    with rounding_off(model):
        reference = list(_outputs(model, batches))
    best, found = signal_to_noise(reference, _outputs(model, batches)), None
    kept = {name: value.clone() for name, value in model.state_dict().items()}
    for calibrator in WHOLE:
        methods = set_ranges(model, stats, calibrator)
        noise = signal_to_noise(reference, _outputs(model, batches))
        if noise > best:
            best, found = noise, methods
            kept = {name: value.clone() for name, value in model.state_dict().items()}
    model.load_state_dict(kept)
    return found


def _outputs(model: QuantizedDetector, batches: Sequence[Array]) -> Iterable[Outputs]:
    for images in batches:
        logits, regression = model(torch.from_numpy(images))
        yield model.scores(logits), model.distances(regression)


def signal_to_noise(reference: Iterable[Outputs], other: Iterable[Outputs]) -> float:
    """The signal-to-noise ratio of scores and boxes over all images, in decibels."""
    shares = torch.zeros(2, 2, dtype=torch.float64)  # scores and boxes: signal, noise
    for (scores, distances), (other_scores, other_distances) in zip(reference, other, strict=True):
        weight = scores.amax(dim=-1, keepdim=True)
        shares[0, 0] += scores.square().sum()
        shares[0, 1] += (other_scores - scores).square().sum()
        shares[1, 0] += (weight * distances.square()).sum()
        shares[1, 1] += (weight * (other_distances - distances).square()).sum()
    noise = float((shares[:, 1] / shares[:, 0].clamp(min=1e-12)).sum())
    return -10 * math.log10(max(noise, 1e-12))
