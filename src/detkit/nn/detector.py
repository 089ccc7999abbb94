"""The detector: backbone, neck and heads of an ArchSpec, and its deployed (fused) form."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from detkit.nn.blocks import CONVOLUTIONS, conv_macs, fuse_inside, fuse_shapes
from detkit.nn.families import FAMILIES
from detkit.nn.head import Heads
from detkit.nn.qarep import REPARAM_BLOCKS
from detkit.spec.arch import ArchSpec


class RawOutputs(NamedTuple):
    """What a network says of its images before decoding, and the maps it says it from."""

    logits: Tensor  # (B, A, C)
    distances: Tensor  # (B, A, D)
    features: tuple[Tensor, ...] = ()  # of the neck, (B, channels, H, W) at strides 8, 16, 32


class Detector(nn.Module):
    """Images (B, 3, H, W) RGB 0..1 -> class logits (B, A, C), distance logits (B, A, D).

    In families whose head is run but not trained the two are that head's own; `scores` and
    `distances` say in all families what they mean.
    """

    def __init__(self, spec: ArchSpec) -> None:
        super().__init__()
        self.spec = spec
        family = FAMILIES[spec.family]
        self.backbone = family.backbone(spec)
        self.neck = family.neck(spec)
        self.heads = Heads(spec, family.head)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        logits, distances, _ = Detector.outputs(self, images)
        return logits, distances

    def outputs(self, images: Tensor) -> RawOutputs:
        """The two of `forward`, and the neck's maps."""
        features = self.neck(self.backbone(images))
        logits, distances = self.heads(features)
        return RawOutputs(logits, distances, features)

    def scores(self, logits: Tensor) -> Tensor:
        """Scores (B, A, C) in 0..1, of the first output."""
        return FAMILIES[self.spec.family].scores(logits)

    def distances(self, regression: Tensor) -> Tensor:
        """Distances (B, A, 4) left, top, right, bottom of the points, in cells; of the second."""
        return FAMILIES[self.spec.family].distances(regression)


@torch.no_grad()
def fuse(model: Detector) -> Detector:
    """A deployed copy: every block of branches and batch-norms becomes one convolution.

    Exact up to float rounding (sums are done in float64). `model` is left as it is.
    """
    deployed = copy.deepcopy(model).eval()
    fuse_inside(deployed)
    return deployed.requires_grad_(False)


def build_detector(spec: ArchSpec, form: str) -> Detector:
    """A detector in `form` (training or deployed) with unset weights, on the meta device."""
    with torch.device("meta"):
        model = Detector(spec)
    return fuse(model) if form == "deployed" else model


class _SkipBatchNorm(TorchFunctionMode):
    """Batch-norm gives its input: on the meta device its shape is all there is.

    Torch takes it apart into many small steps there, which cost four times the rest of a network.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        return args[0] if func is F.batch_norm else func(*args, **(kwargs or {}))


def on_convolutions(
    model: nn.Module, spec: ArchSpec, note: Callable[[str, Any, Tensor, Tensor], None]
) -> None:
    """Runs one image on the meta device; `note` gets each convolution's path, self, input, output.

    Works for every kind of block, as they are met in the order they run.
    """
    for path, module in model.named_modules():
        if isinstance(module, CONVOLUTIONS):
            hook = functools.partial(note, path)
            module.register_forward_hook(lambda m, x, y, hook=hook: hook(m, x[0], y))
    with torch.no_grad(), _SkipBatchNorm():
        model(torch.empty(1, 3, *spec.image_size, device="meta"))


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What a network costs; `macs` are the multiply-adds of all convolutions for one image."""

    parameters: int
    macs: int

    @property
    def flops(self) -> int:
        """Floating-point operations: two for each multiply-add."""
        return 2 * self.macs


@functools.lru_cache(maxsize=1024)  # a search asks for the same ones again and again
def cost_of(spec: ArchSpec, form: str = "deployed") -> Cost:
    """Counts `spec` at its own image size without allocating it.

    Deployed parameters are counted as YOLO-NAS and its peers publish them: re-parameterizable
    blocks fused, plain convolutions still with their batch-norms (folding those too, as `fuse`
    does, saves another 0.1 %).
    """
    model = build_detector(spec, "training").eval()
    if form == "deployed":
        fuse_shapes(model, tuple(REPARAM_BLOCKS.values()))
    counted: list[int] = []
    on_convolutions(model, spec, lambda path, conv, x, y: counted.append(conv_macs(conv, x, y)))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return Cost(parameters=parameters, macs=sum(counted))


def cost_metrics(spec: ArchSpec) -> dict[str, float]:
    """The manifest's figures of size: deployed, and as trained with every branch."""
    deployed, training = cost_of(spec), cost_of(spec, "training")
    return {
        "parameters": deployed.parameters,
        "macs": deployed.macs,
        "flops": deployed.flops,
        "parameters_training": training.parameters,
        "macs_training": training.macs,
        "flops_training": training.flops,
    }
