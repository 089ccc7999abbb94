"""YOLOX: CSPDarknet with pooling inside its last stage, PAN, decoupled heads with objectness.

Written from the paper (Ge et al., 2021, arXiv 2107.08430), CSPNet (arXiv 1911.11929), the published
counts and the names and shapes of the published checkpoints. The first layer gathers 2x2 pixels
into channels before a 3x3 convolution (Focus); that is one 6x6 convolution of stride 2, which is
what is built here (see `importing.yolox`). `block` "depthwise" makes YOLOX-Nano: every 3x3 but the
first is depthwise then 1x1.

`ObjectnessHead` is the published one, to be run; `DistributionHead`, with the same convolutions and
the predictors of all other families, is the one that is trained. Legend: B batch, A anchor points.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from detkit.nn.backbone import Stem
from detkit.nn.blocks import SPP, Conv, MakeBlock, QuantGroup, Residual, Step
from detkit.nn.families.pan import PAN
from detkit.nn.head import class_predictor, distance_predictor
from detkit.nn.plain_blocks import DepthwiseBlock, block_maker, csp_layer
from detkit.spec.arch import ArchSpec, StageSpec


class Stage(QuantGroup):
    """A convolution of stride 2, then a CSP layer; the last stage pools between, no shortcuts."""

    def __init__(self, c_in: int, stage: StageSpec, spec: ArchSpec, *, last: bool = False) -> None:
        super().__init__()
        activation = spec.activation
        self.downsample = strided_maker(spec)(c_in, stage.out)
        self.context_module = SPP(stage.out, activation=activation) if last else nn.Identity()
        self.blocks = csp_layer(stage.out, stage, spec, bottleneck_maker(spec, shortcut=not last))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.blocks(self.context_module(self.downsample(x)))
        return out


class Backbone(nn.Module):
    """Images (B, 3, H, W) -> features c2, c3, c4, c5 at strides 4, 8, 16, 32."""

    def __init__(self, spec: ArchSpec) -> None:
        super().__init__()
        self.stem = Stem(Conv(3, spec.stem, 6, 2, activation=spec.activation))
        widths = [spec.stem, *(stage.out for stage in spec.stages)]
        self.stage1 = Stage(widths[0], spec.stages[0], spec)
        self.stage2 = Stage(widths[1], spec.stages[1], spec)
        self.stage3 = Stage(widths[2], spec.stages[2], spec)
        self.stage4 = Stage(widths[3], spec.stages[3], spec, last=True)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        c2 = self.stage1(self.stem(x))
        c3 = self.stage2(c2)
        c4 = self.stage3(c3)
        return c2, c3, c4, self.stage4(c4)


def neck(spec: ArchSpec) -> PAN:
    """A PAN whose bottlenecks have no shortcut."""
    return PAN(
        spec,
        step=bottleneck_maker(spec, shortcut=False),
        reduce=True,
        strided=strided_maker(spec),
    )


def strided_maker(spec: ArchSpec) -> MakeBlock:
    """What makes the convolutions of stride 2, depthwise where the others are."""

    def make(c_in: int, c_out: int) -> nn.Module:
        if spec.block == "depthwise":
            return DepthwiseBlock(
                c_in, c_out, kernel=spec.kernel, activation=spec.activation, stride=2
            )
        return Conv(c_in, c_out, spec.kernel, 2, activation=spec.activation)

    return make


def bottleneck_maker(spec: ArchSpec, *, shortcut: bool) -> Step:
    """What makes the steps of CSP layers: a 1x1, then a block, and the shortcut around both."""
    joined = Residual if shortcut else nn.Sequential

    def make(channels: int) -> nn.Module:
        reduce = Conv(channels, channels, 1, activation=spec.activation)
        return joined(reduce, block_maker(spec)(channels, channels))

    return make


# --- heads ---------------------------------------------------------------------------------------


class _DecoupledHead(QuantGroup):
    """The convolutions of a head: a 1x1, then two for classes and two for boxes."""

    def __init__(self, c_in: int, width: int, spec: ArchSpec) -> None:
        super().__init__()
        make_block = block_maker(spec)
        self.stem = Conv(c_in, width, 1, activation=spec.activation)
        self.cls_convs = nn.Sequential(*(make_block(width, width) for _ in range(2)))
        self.reg_convs = nn.Sequential(*(make_block(width, width) for _ in range(2)))


class DistributionHead(_DecoupledHead):
    """The head of one level as it is trained: see `nn.head`."""

    def __init__(self, c_in: int, width: int, spec: ArchSpec) -> None:
        super().__init__(c_in, width, spec)
        self.cls_pred = class_predictor(width, spec)
        self.reg_pred = distance_predictor(width, spec)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.stem(x)
        return self.cls_pred(self.cls_convs(x)), self.reg_pred(self.reg_convs(x))


class ObjectnessHead(_DecoupledHead):
    """The published head of one level: logits (B, C + 1, H, W), objectness last, and boxes.

    Boxes (B, 4, H, W) are the centre's offset from the cell's corner, and the logarithms of width
    and height, in cells.
    """

    def __init__(self, c_in: int, width: int, spec: ArchSpec) -> None:
        super().__init__(c_in, width, spec)
        self.cls_pred = class_predictor(width, spec)
        self.obj_pred = nn.Conv2d(width, 1, 1)
        self.reg_pred = nn.Conv2d(width, 4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.stem(x)
        boxes = self.reg_convs(x)
        logits = [self.cls_pred(self.cls_convs(x)), self.obj_pred(boxes)]
        return torch.cat(logits, dim=1), self.reg_pred(boxes)


def scores(logits: Tensor) -> Tensor:
    """Scores (B, A, C): class by objectness, of (B, A, C + 1)."""
    return logits[..., :-1].sigmoid() * logits[..., -1:].sigmoid()


def distances(boxes: Tensor) -> Tensor:
    """Distances (B, A, 4) from the cell's centre, in cells, of an `ObjectnessHead`'s boxes."""
    shifts, halves = boxes[..., :2] - 0.5, boxes[..., 2:].exp() * 0.5
    return torch.cat([halves - shifts, halves + shifts], dim=-1)
