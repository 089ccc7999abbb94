"""The detector: backbone, neck and heads of an ArchSpec, and its deployed (fused) form."""

from __future__ import annotations

import copy
import functools
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from detkit.nn.blocks import CONVOLUTIONS, MapSize, conv_macs, fuse_inside, fuse_shapes
from detkit.nn.families import FAMILIES
from detkit.nn.head import Heads
from detkit.nn.qarep import REPARAM_BLOCKS
from detkit.spec.arch import STRIDES, ArchSpec


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
    if form == "deployed":
        fuse_shapes(model.eval())
        model.requires_grad_(False)
    return model


class _ShapesOnly(TorchFunctionMode):
    """Convolutions give zeros of the shape they would give, batch-norms their input."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func is F.batch_norm:
            return args[0]
        if func is F.conv2d:
            x, weight, _, stride, padding, dilation, _ = args
            form = zip(x.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True)
            sides = [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in form]
            return x.new_zeros(1, weight.shape[0], *sides)
        if func is F.conv_transpose2d:
            x, weight, _, stride, padding, more, groups, dilation = args
            form = zip(x.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True)
            least = [(n - 1) * s - 2 * p + d * (k - 1) + 1 for n, k, s, p, d in form]
            sides = list(map(operator.add, least, more))
            return x.new_zeros(1, weight.shape[1] * groups, *sides)
        return func(*args, **(kwargs or {}))


NoteConvolution = Callable[[str, Any, MapSize, MapSize], None]  # path, itself, of input, of output


def on_convolutions(model: nn.Module, spec: ArchSpec, note: NoteConvolution) -> None:
    """Shows `note` each convolution and its sizes for one image, in the order they run.

    Works for every kind of block, and for weights on the meta device. One cell of the largest
    stride is run, of which every size is a multiple: torch's own meta device takes seconds to
    import what it needs. The model is of no use afterwards.
    """
    unset = {name: torch.empty(t.shape, dtype=t.dtype) for name, t in model.state_dict().items()}
    model.load_state_dict(unset, assign=True)
    side = STRIDES[-1]
    rows, columns = (size // side for size in spec.image_size)

    def size_of(maps: Tensor) -> MapSize:
        return maps.shape[2] * rows, maps.shape[3] * columns

    for path, module in model.named_modules():
        if isinstance(module, CONVOLUTIONS):
            module.register_forward_hook(
                lambda m, x, y, path=path: note(path, m, size_of(x[0]), size_of(y))
            )
    with torch.no_grad(), _ShapesOnly():
        model(torch.zeros(1, 3, side, side))


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
    on_convolutions(model, spec, lambda _, conv, x, y: counted.append(conv_macs(conv, x, y)))
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
