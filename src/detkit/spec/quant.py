"""A quantization scheme as data: one spec serves calibration, training, evaluation and export.

What it does not hold: the ranges themselves, which are tensors of the checkpoint, and zero points
or integer types of a target, which `export` derives from the ranges.
"""

from __future__ import annotations

from dataclasses import dataclass

from detkit.core.errors import UsageError, did_you_mean

CALIBRATORS = ("auto", "max", "percentile", "mse", "entropy")
WEIGHT_BITS = (7, 8)


@dataclass(frozen=True, kw_only=True)
class QuantSpec:
    """INT8: weights symmetric per output channel, activations one range a tensor.

    `weight_bits` 7 keeps the sums of CPUs without VNNI from saturating (onnxruntime #6004).
    `float_groups` are the groups (`nn.quantization.quantized.group_of`) that stay in floating
    point; class and distance predictors always do. `calibration_digest` names the images that the
    ranges come from.
    """

    weight_bits: int = 8
    calibrator: str = "auto"
    float_groups: tuple[str, ...] = ()
    learned_scales: bool = False
    calibration_images: int = 0
    calibration_digest: str = ""

    def __post_init__(self) -> None:
        if self.weight_bits not in WEIGHT_BITS:
            raise UsageError(f"quant: weight_bits is 7 or 8, not {self.weight_bits}")
        if self.calibrator not in CALIBRATORS:
            raise UsageError(
                f"quant: unknown calibrator '{self.calibrator}'",
                hint=did_you_mean(self.calibrator, CALIBRATORS),
            )
