"""Fake quantization: layers that compute in float what an INT8 engine computes in integers.

Krishnamoorthi, 2018, arXiv 1806.08342; learned scales: LSQ, Esser et al., 2020, arXiv 1902.08153.
An activation has 8 bits between two bounds that include zero, which is exact (padding stays
padding): non-negative tensors use all 256 levels. A weight has `bits` bits a sign included,
symmetric, one scale an output channel. What lives elsewhere: where quantizers sit
(`nn.quantization.quantized`), how ranges are found (`quantize.calibrate`), integer types of an
engine (`export`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.nn.blocks import FusedConv

LEVELS = 255  # steps between the bounds of an activation
SMALLEST = 1e-8  # of a scale: a tensor that is always zero still has one


class Quantizer(nn.Module):
    """Rounds a tensor to its 256 levels: scale * (0..255 - zero_point), gradients straight through.

    The scale is kept as its logarithm, so that an optimiser's step changes it by a share of itself.
    """

    zero_point: Tensor

    def __init__(self, *, learned: bool = False) -> None:
        super().__init__()
        self.learned = learned
        self.passes_through = False  # while ranges are being observed
        self.log_scale = nn.Parameter(torch.zeros(()), requires_grad=learned)
        self.register_buffer("zero_point", torch.zeros((), dtype=torch.int32))

    @property
    def scale(self) -> Tensor:
        return torch.exp(self.log_scale)

    @torch.no_grad()
    def set_range(self, low: float, high: float) -> None:
        """Sets the bounds, widened to include zero; `low` moves to the nearest whole step."""
        low, high = min(low, 0.0), max(high, 0.0)
        scale = max((high - low) / LEVELS, SMALLEST)
        self.log_scale.copy_(torch.tensor(scale).log())
        self.zero_point.copy_(torch.tensor(round(-low / scale), dtype=torch.int32))

    def forward(self, x: Tensor) -> Tensor:
        if self.passes_through:
            return x
        if not (self.learned and self.training):
            scale = self.scale.detach()
            rounded: Tensor = torch.fake_quantize_per_tensor_affine(
                x, scale, self.zero_point, 0, LEVELS
            )
            return rounded
        learned: Tensor = torch._fake_quantize_learnable_per_tensor_affine(
            x,
            self.scale.reshape(1),
            self.zero_point.float().reshape(1),
            0,
            LEVELS,
            1 / (x.numel() * LEVELS) ** 0.5,  # the gradient's share: LSQ, section 2.2
        )
        return learned


def weight_scale(weight: Tensor, bits: int) -> Tensor:
    """The scales (C_out,) of output channels: the largest weight of each is the last level."""
    largest = weight.detach().flatten(1).abs().amax(dim=1)
    scale: Tensor = largest.clamp(min=SMALLEST) / (2 ** (bits - 1) - 1)
    return scale


def quantize_weight(weight: Tensor, bits: int) -> Tensor:
    """Rounds a weight to its levels; -2^(bits-1) is never reached, as engines need it."""
    scale = weight_scale(weight, bits)
    zeros = torch.zeros_like(scale, dtype=torch.int32)
    # ONNX knows only the whole range of int8; with fewer bits the scale keeps within less of it.
    rounded: Tensor = torch.fake_quantize_per_channel_affine(weight, scale, zeros, 0, -128, 127)
    return rounded


class QuantConv(FusedConv):
    """A `FusedConv` whose weight is quantized, unless `in_float`; its bias stays in float.

    `bias_shift` (C_out,) takes out the mean error that rounding the weight makes.
    """

    bias_shift: Tensor

    def __init__(self, source: FusedConv, *, bits: int) -> None:
        nn.Module.__init__(self)
        self.conv, self.act = source.conv, source.act
        self.bits = bits
        self.in_float = False
        self.register_buffer("bias_shift", torch.zeros_like(self.bias))

    @property
    def bias(self) -> Tensor:
        assert self.conv.bias is not None
        return self.conv.bias

    def forward(self, x: Tensor) -> Tensor:
        conv = self.conv
        if self.in_float:
            return self._convolve(x, conv.weight, self.bias)
        return self._convolve(
            x, quantize_weight(conv.weight, self.bits), self.bias + self.bias_shift
        )

    def _convolve(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        conv = self.conv
        y = F.conv2d(x, weight, bias, conv.stride, conv.padding, groups=conv.groups)
        out: Tensor = self.act(y)
        return out

    @torch.no_grad()
    def correct_bias(self, input_means: Tensor) -> None:
        """Sets `bias_shift` for inputs of these channel means, (C_in,).

        Nagel et al., 2019, arXiv 1906.04721, section 4.2, with means from images.
        """
        error = quantize_weight(self.conv.weight, self.bits) - self.conv.weight
        error_gok = error.sum(dim=(2, 3)).unflatten(0, (self.conv.groups, -1))
        means_gk = input_means.to(error).unflatten(0, (self.conv.groups, -1))
        self.bias_shift.copy_(-(error_gok @ means_gk[..., None]).flatten())


class ShuffledConv(nn.Module):
    """A 2x2 transposed convolution of stride 2 as a 1x1 convolution and a pixel shuffle.

    The same function, in operators that every INT8 engine has: ONNX Runtime knows no transposed
    convolution in INT8 on CPUs.
    """

    def __init__(self, source: nn.ConvTranspose2d) -> None:
        super().__init__()
        assert source.kernel_size == source.stride == (2, 2)
        assert source.bias is not None
        c_in, c_out = source.weight.shape[:2]
        weight = source.weight.detach().permute(1, 2, 3, 0).reshape(4 * c_out, c_in, 1, 1)
        bias = source.bias.detach().repeat_interleave(4)
        self.point: nn.Module = FusedConv(weight, bias, stride=1, act=nn.Identity())

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(self.point(x), 2)
