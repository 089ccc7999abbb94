"""Building blocks of all families: convolutions, bottlenecks, CSP layer, pyramid pooling.

Attribute names are the published tensor names of YOLO-NAS (super-gradients 3.7.1), so that a
published state dict loads strictly. Every block with a batch-norm knows how to `fuse()` into a
`FusedConv`, the only kind of block a deployed network has.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn

from detkit.nn.memory_format import concatenate

BN_EPS = 1e-3  # YOLO-NAS sets both on every batch-norm of the network
BN_MOMENTUM = 0.03

CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": lambda: nn.ReLU(inplace=True),
    "silu": lambda: nn.SiLU(inplace=True),
    "hardswish": lambda: nn.Hardswish(inplace=True),
}

MakeBlock = Callable[[int, int], nn.Module]  # (in channels, out channels) -> a block of stride 1
Step = Callable[[int], nn.Module]  # channels -> one step of a CSP layer's long path
Sides = int | tuple[int, int]  # of a kernel; two are height and width
MapSize = tuple[int, int]  # height and width of a map of features


@runtime_checkable
class Fusable(Protocol):
    """A block that can say what single convolution it equals in evaluation mode."""

    act: nn.Module

    def fuse(self) -> FusedConv: ...


def fuse_inside(module: nn.Module, kind: type | tuple[type, ...] = Fusable) -> None:
    """Puts in place of every module of this kind inside `module` what it fuses to."""
    for name, child in module.named_children():
        if isinstance(child, kind):
            setattr(module, name, cast(Fusable, child).fuse())
        else:
            fuse_inside(child, kind)


def fuse_shapes(module: nn.Module, kind: type | tuple[type, ...] = Fusable) -> None:
    """Fuses a network without weights: nothing is computed, a block's largest kernel has the shape.

    The arithmetic of fusing, on the meta device, takes four times as long, and seconds to import.
    """
    for name, child in module.named_children():
        if not isinstance(child, kind):
            fuse_shapes(child, kind)
            continue
        inside = [part for part in child.modules() if isinstance(part, nn.Conv2d)]
        largest = max(inside, key=lambda conv: math.prod(conv.kernel_size))
        bias = largest.weight.new_empty(largest.out_channels)
        fused = FusedConv(
            largest.weight,
            bias,
            stride=largest.stride[0],
            act=cast(Fusable, child).act,
            groups=largest.groups,
        )
        setattr(module, name, fused)


def conv_macs(conv: nn.Conv2d | nn.ConvTranspose2d, before: MapSize, after: MapSize) -> int:
    """Multiply-adds of a convolution for one image, by the maps before and after it."""
    # A transposed convolution touches every input once for each weight of its kernel.
    height, width = before if isinstance(conv, nn.ConvTranspose2d) else after
    products = height * width * math.prod(conv.kernel_size)
    return products * conv.in_channels * conv.out_channels // conv.groups


class QuantGroup(nn.Module):
    """A part of a network whose convolutions, but for those of groups inside, are INT8 together."""


def padding_of(kernel: Sides) -> tuple[int, int]:
    """The padding that keeps the size, or divides it by the stride."""
    height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
    return (height - 1) // 2, (width - 1) // 2


def batch_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=BN_EPS, momentum=BN_MOMENTUM)


def bn_scale_shift(bn: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Evaluation-mode batch-norm as y = scale * x + shift, both (C,) float64."""
    assert bn.running_mean is not None
    assert bn.running_var is not None
    scale = bn.weight.double() / torch.sqrt(bn.running_var.double() + bn.eps)
    return scale, bn.bias.double() - bn.running_mean.double() * scale


class FusedConv(nn.Module):
    """Convolution with bias, then the activation: what every block becomes when deployed."""

    def __init__(
        self, weight: Tensor, bias: Tensor, *, stride: int, act: nn.Module, groups: int = 1
    ) -> None:
        super().__init__()
        c_out, c_in, height, width = weight.shape
        self.conv = nn.Conv2d(
            c_in * groups,
            c_out,
            (height, width),
            stride,
            padding_of((height, width)),
            groups=groups,
            device=weight.device,
            dtype=torch.float32,
        )
        with torch.no_grad():
            self.conv.weight.copy_(weight)
            self.conv.bias.copy_(bias)  # type: ignore[union-attr]
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.act(self.conv(x))
        return out


class ConvBN(nn.Module):
    """Convolution without bias, then batch-norm; keys `conv.weight`, `bn.*`."""

    def __init__(
        self, c_in: int, c_out: int, kernel: Sides, stride: int = 1, *, groups: int = 1
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            c_in, c_out, kernel, stride, padding_of(kernel), groups=groups, bias=False
        )
        self.bn = batch_norm(c_out)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn(self.conv(x))
        return out

    def kernel_and_bias(self) -> tuple[Tensor, Tensor]:
        """The one convolution this equals in evaluation mode, float64."""
        scale, shift = bn_scale_shift(self.bn)
        return self.conv.weight.double() * scale[:, None, None, None], shift


class Conv(ConvBN):
    """A convolution, batch-norm and activation."""

    def __init__(
        self,
        c_in: int,
        c_out: int,
        kernel: Sides,
        stride: int = 1,
        *,
        activation: str,
        groups: int = 1,
    ) -> None:
        super().__init__(c_in, c_out, kernel, stride, groups=groups)
        self.act = ACTIVATIONS[activation]()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.act(super().forward(x))
        return out

    def fuse(self) -> FusedConv:
        return FusedConv(
            *self.kernel_and_bias(),
            stride=self.conv.stride[0],
            act=self.act,
            groups=self.conv.groups,
        )


class SeqConv(nn.Module):
    """A `Conv` under the heads' published keys, `seq.conv.weight` and `seq.bn.*`."""

    def __init__(self, c_in: int, c_out: int, kernel: int, *, activation: str) -> None:
        super().__init__()
        self.seq = Conv(c_in, c_out, kernel, activation=activation)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.seq(x)
        return out


class Bottleneck(nn.Module):
    """Computes `alpha * x + cv2(cv1(x))`; alpha is learnt and scales the shortcut."""

    def __init__(self, channels: int, make_block: MakeBlock) -> None:
        super().__init__()
        self.cv1 = make_block(channels, channels)
        self.cv2 = make_block(channels, channels)
        self.alpha = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        # A number, unlike a tensor of one element, leaves a bfloat16 `x` as it is.
        out: Tensor = self.alpha[0] * x + self.cv2(self.cv1(x))
        return out


class Residual(nn.Module):
    """Computes `x + cv2(cv1(x))`: the shortcut of Darknet and its successors."""

    def __init__(self, cv1: nn.Module, cv2: nn.Module) -> None:
        super().__init__()
        self.cv1, self.cv2 = cv1, cv2

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.cv2(self.cv1(x))
        return out


class CSPLayer(QuantGroup):
    """Two 1x1 paths, one through `blocks` steps; concatenated and joined by a third 1x1.

    With `concat` every intermediate result is concatenated, otherwise only the last.
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        *,
        hidden: int,
        blocks: int,
        concat: bool,
        step: Step,
        activation: str,
    ) -> None:
        super().__init__()
        self.concat = concat
        num_paths = blocks + 2 if concat else 2
        self.conv1 = Conv(c_in, hidden, 1, activation=activation)
        self.conv2 = Conv(c_in, hidden, 1, activation=activation)
        self.conv3 = Conv(num_paths * hidden, c_out, 1, activation=activation)
        self.bottlenecks = nn.ModuleList(step(hidden) for _ in range(blocks))

    def forward(self, x: Tensor) -> Tensor:
        steps = [self.conv1(x)]
        for bottleneck in self.bottlenecks:
            steps.append(bottleneck(steps[-1]))
        paths = steps if self.concat else steps[-1:]
        out: Tensor = self.conv3(concatenate([*paths, self.conv2(x)]))
        return out


class SPP(QuantGroup):
    """Spatial pyramid pooling: 1x1 to half, max-pools 5, 9, 13 beside it, 1x1 back."""

    def __init__(self, channels: int, *, activation: str) -> None:
        super().__init__()
        hidden = channels // 2
        self.cv1 = Conv(channels, hidden, 1, activation=activation)
        self.cv2 = Conv(hidden * 4, channels, 1, activation=activation)
        self.pools = nn.ModuleList(nn.MaxPool2d(k, stride=1, padding=k // 2) for k in (5, 9, 13))

    def forward(self, x: Tensor) -> Tensor:
        x = self.cv1(x)
        out: Tensor = self.cv2(concatenate([x, *(pool(x) for pool in self.pools)]))
        return out


class SPPF(QuantGroup):
    """Computes what `SPP` does by three max-pools of 5 in a row, in place of 5, 9 and 13."""

    def __init__(self, channels: int, *, activation: str) -> None:
        super().__init__()
        hidden = channels // 2
        self.cv1 = Conv(channels, hidden, 1, activation=activation)
        self.cv2 = Conv(hidden * 4, channels, 1, activation=activation)
        self.pool = nn.MaxPool2d(5, stride=1, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        steps = [self.cv1(x)]
        for _ in range(3):
            steps.append(self.pool(steps[-1]))
        out: Tensor = self.cv2(concatenate(steps))
        return out
