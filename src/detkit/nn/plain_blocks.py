"""Blocks without branches, and which block an ArchSpec builds its CSP layers and downsampling of.

`PLAIN_BLOCKS` is the plug-in table of kinds that are deployed as they are trained: the `block` of
an ArchSpec -> class, (in channels, out channels) of stride 1. With `REPARAM_BLOCKS` of `nn.qarep`
it makes up `BLOCK_KINDS`. Plain kinds leave stem and downsampling ordinary convolutions.

Attributes are the names of tensors in checkpoints; of a CSP block `bypass` is the shortcut and
`mix` the output convolution.
"""

from __future__ import annotations

from torch import Tensor, nn

from detkit.nn.blocks import Conv, CSPLayer, MakeBlock, Step
from detkit.nn.memory_format import concatenate
from detkit.nn.qarep import REPARAM_BLOCKS
from detkit.spec.arch import ArchSpec, NeckSpec, StageSpec


class ConvBlock(Conv):
    """The block of one convolution, batch-norm and activation."""

    def __init__(self, c_in: int, c_out: int, *, kernel: int, activation: str) -> None:
        super().__init__(c_in, c_out, kernel, activation=activation)


class BottleneckBlock(nn.Module):
    """A 1x1 to half the channels, then the convolution (YOLOv3's: arXiv 1804.02767)."""

    def __init__(self, c_in: int, c_out: int, *, kernel: int, activation: str) -> None:
        super().__init__()
        hidden = half(c_out)
        self.reduce = Conv(c_in, hidden, 1, activation=activation)
        self.conv = Conv(hidden, c_out, kernel, activation=activation)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(self.reduce(x))
        return out


class CSPBlock(nn.Module):
    """Two halves by 1x1, one of them convolved, joined by a third (CSPNet: arXiv 1911.11929)."""

    def __init__(self, c_in: int, c_out: int, *, kernel: int, activation: str) -> None:
        super().__init__()
        hidden = half(c_out)
        self.reduce = Conv(c_in, hidden, 1, activation=activation)
        self.bypass = Conv(c_in, hidden, 1, activation=activation)
        self.conv = Conv(hidden, hidden, kernel, activation=activation)
        self.mix = Conv(2 * hidden, c_out, 1, activation=activation)

    def forward(self, x: Tensor) -> Tensor:
        paths = [self.conv(self.reduce(x)), self.bypass(x)]
        out: Tensor = self.mix(concatenate(paths))
        return out


class LowRankBlock(nn.Module):
    """The convolution in two factors, a column and a row (Jaderberg et al.: arXiv 1405.3866)."""

    def __init__(self, c_in: int, c_out: int, *, kernel: int, activation: str) -> None:
        super().__init__()
        self.column = Conv(c_in, c_out, (kernel, 1), activation=activation)
        self.row = Conv(c_out, c_out, (1, kernel), activation=activation)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.row(self.column(x))
        return out


class DepthwiseBlock(nn.Module):
    """A convolution of each channel by itself, then a 1x1 (MobileNet: arXiv 1704.04861).

    Both with batch-norm and activation; the names are those of YOLOX-Nano's tensors.
    """

    def __init__(
        self, c_in: int, c_out: int, *, kernel: int, activation: str, stride: int = 1
    ) -> None:
        super().__init__()
        self.dconv = Conv(c_in, c_in, kernel, stride, activation=activation, groups=c_in)
        self.pconv = Conv(c_in, c_out, 1, activation=activation)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.pconv(self.dconv(x))
        return out


PlainBlock = ConvBlock | BottleneckBlock | CSPBlock | LowRankBlock | DepthwiseBlock
PLAIN_BLOCKS: dict[str, type[PlainBlock]] = {
    "depthwise": DepthwiseBlock,
    "conv": ConvBlock,
    "bottleneck": BottleneckBlock,
    "csp": CSPBlock,
    "lowrank": LowRankBlock,
}


def half(channels: int) -> int:
    """Half the channels, but at least one."""
    return max(1, channels // 2)


def block_maker(spec: ArchSpec) -> MakeBlock:
    """What makes the blocks of CSP layers; re-parameterizable ones with their identity branch."""

    def make(c_in: int, c_out: int) -> nn.Module:
        if spec.block in PLAIN_BLOCKS:
            return PLAIN_BLOCKS[spec.block](
                c_in, c_out, kernel=spec.kernel, activation=spec.activation
            )
        return REPARAM_BLOCKS[spec.block](
            c_in, c_out, kernel=spec.kernel, residual=c_in == c_out, activation=spec.activation
        )

    return make


def strided_block(spec: ArchSpec, c_in: int, c_out: int) -> nn.Module:
    """The 3x3 block of stride 2 of stem and stages, re-parameterizable where the others are."""
    if spec.block in REPARAM_BLOCKS:
        return REPARAM_BLOCKS[spec.block](c_in, c_out, stride=2, activation=spec.activation)
    return Conv(c_in, c_out, 3, 2, activation=spec.activation)


def csp_layer(c_in: int, stage: StageSpec | NeckSpec, spec: ArchSpec, step: Step) -> CSPLayer:
    """The CSP layer of a stage; `step` makes its bottlenecks."""
    return CSPLayer(
        c_in,
        stage.out,
        hidden=stage.hidden,
        blocks=stage.blocks,
        concat=stage.concat,
        step=step,
        activation=spec.activation,
    )
