"""Re-parameterizable blocks: branches while training, one convolution when deployed.

RepVGG: Ding et al., CVPR 2021, arXiv 2101.03697. QARepVGG: Chu et al., AAAI 2024, arXiv
2212.01593, in the YOLO-NAS form (the 1x1 branch has a bias and no batch-norm). The sums are the
same for any odd kernel; `branch_3x3` is the published tensor name, whatever the kernel's side.

`REPARAM_BLOCKS` is the plug-in table: the `block` of an ArchSpec -> class. Kinds without branches
are in `nn.plain_blocks`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.nn.blocks import ACTIVATIONS, ConvBN, FusedConv, batch_norm, bn_scale_shift
from detkit.nn.memory_format import every_nth


class PointConv(nn.Conv2d):
    """A 1x1 convolution with a stride, done as a slice and a stride-1 convolution.

    The slice also avoids a heap corruption in torch 2.13 on CPU: the backward of a strided 1x1
    with fewer than 16 input channels in channels_last (measured; see tests).
    """

    def __init__(self, c_in: int, c_out: int, *, stride: int, bias: bool) -> None:
        super().__init__(c_in, c_out, 1, bias=bias)
        self.step = stride

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if self.step == 1 else every_nth(x, self.step))


class QARepVGGBlock(nn.Module):
    """Computes `act(post_bn(bn(conv(x)) + conv1x1(x) + x))`, the identity where `residual`."""

    def __init__(
        self,
        c_in: int,
        c_out: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        residual: bool = False,
        activation: str,
    ) -> None:
        super().__init__()
        assert not residual or (c_in == c_out and stride == 1)
        self.residual = residual
        self.branch_3x3 = ConvBN(c_in, c_out, kernel, stride)
        self.branch_1x1 = PointConv(c_in, c_out, stride=stride, bias=True)
        self.post_bn = batch_norm(c_out)
        self.act = ACTIVATIONS[activation]()

    def forward(self, x: Tensor) -> Tensor:
        y = self.branch_3x3(x) + self.branch_1x1(x)
        if self.residual:
            y = y + x
        out: Tensor = self.act(self.post_bn(y))
        return out

    def fuse(self) -> FusedConv:
        kernel, bias = self.branch_3x3.kernel_and_bias()
        point = self.branch_1x1.weight.double()
        if self.residual:
            point = point + identity_kernel(point)
        assert self.branch_1x1.bias is not None
        kernel = kernel + F.pad(point, [kernel.shape[-1] // 2] * 4)
        bias = bias + self.branch_1x1.bias.double()
        scale, shift = bn_scale_shift(self.post_bn)
        return FusedConv(
            kernel * scale[:, None, None, None],
            bias * scale + shift,
            stride=self.branch_1x1.step,
            act=self.act,
        )


class PointConvBN(nn.Module):
    """A 1x1 convolution without bias, then batch-norm: RepVGG's second branch."""

    def __init__(self, c_in: int, c_out: int, stride: int) -> None:
        super().__init__()
        self.conv = PointConv(c_in, c_out, stride=stride, bias=False)
        self.bn = batch_norm(c_out)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.bn(self.conv(x))
        return out


class RepVGGBlock(nn.Module):
    """Computes `act(bn(conv(x)) + bn(conv1x1(x)) + bn(x))`, the identity where `residual`."""

    def __init__(
        self,
        c_in: int,
        c_out: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        residual: bool = False,
        activation: str,
    ) -> None:
        super().__init__()
        assert not residual or (c_in == c_out and stride == 1)
        self.branch_3x3 = ConvBN(c_in, c_out, kernel, stride)
        self.branch_1x1 = PointConvBN(c_in, c_out, stride)
        self.branch_identity = batch_norm(c_in) if residual else None
        self.act = ACTIVATIONS[activation]()

    def forward(self, x: Tensor) -> Tensor:
        y = self.branch_3x3(x) + self.branch_1x1(x)
        if self.branch_identity is not None:
            y = y + self.branch_identity(x)
        out: Tensor = self.act(y)
        return out

    def fuse(self) -> FusedConv:
        kernel, bias = self.branch_3x3.kernel_and_bias()
        scale, shift = bn_scale_shift(self.branch_1x1.bn)
        point = self.branch_1x1.conv.weight.double() * scale[:, None, None, None]
        bias = bias + shift
        if self.branch_identity is not None:
            scale, shift = bn_scale_shift(self.branch_identity)
            point = point + identity_kernel(point) * scale[:, None, None, None]
            bias = bias + shift
        kernel = kernel + F.pad(point, [kernel.shape[-1] // 2] * 4)
        return FusedConv(kernel, bias, stride=self.branch_1x1.conv.step, act=self.act)


def identity_kernel(like: Tensor) -> Tensor:
    """The 1x1 kernel (C, C, 1, 1) that passes its input through."""
    channels = like.shape[0]
    return torch.eye(channels, dtype=like.dtype, device=like.device)[:, :, None, None]


REPARAM_BLOCKS: dict[str, type[QARepVGGBlock | RepVGGBlock]] = {
    "qarepvgg": QARepVGGBlock,
    "repvgg": RepVGGBlock,
}
