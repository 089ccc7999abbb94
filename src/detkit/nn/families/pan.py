"""The path aggregation neck of YOLOv5 and YOLOv8 (PANet: Liu et al., 2018, arXiv 1803.01534)."""

from __future__ import annotations

import functools

from torch import Tensor, nn

from detkit.nn.blocks import Conv, MakeBlock, QuantGroup, Step
from detkit.nn.memory_format import concatenate
from detkit.nn.plain_blocks import csp_layer
from detkit.spec.arch import ArchSpec, NeckSpec


class UpMerge(QuantGroup):
    """(x, skip at twice the scale) -> (x as it went up, fused map at the skip's scale)."""

    def __init__(
        self, c_in: int, skip: int, stage: NeckSpec, spec: ArchSpec, *, step: Step, reduce: bool
    ) -> None:
        super().__init__()
        self.width = stage.out if reduce else c_in
        self.reduce = (
            Conv(c_in, stage.out, 1, activation=spec.activation) if reduce else nn.Identity()
        )
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")
        self.blocks = csp_layer(self.width + skip, stage, spec, step)

    def forward(self, x: Tensor, skip: Tensor) -> tuple[Tensor, Tensor]:
        x = self.reduce(x)
        return x, self.blocks(concatenate([self.upsample(x), skip]))


class DownMerge(QuantGroup):
    """(x, skip at half the scale) -> fused map at the skip's scale."""

    def __init__(
        self,
        c_in: int,
        skip: int,
        stage: NeckSpec,
        spec: ArchSpec,
        *,
        step: Step,
        strided: MakeBlock,
    ) -> None:
        super().__init__()
        self.downsample = strided(c_in, c_in)
        self.blocks = csp_layer(c_in + skip, stage, spec, step)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        out: Tensor = self.blocks(concatenate([self.downsample(x), skip]))
        return out


class PAN(nn.Module):
    """Features c2..c5 -> p3, p4, p5 at strides 8, 16, 32; `reduce`: by a 1x1 before going up.

    `strided` makes what halves the scale on the way down, a 3x3 convolution by default.
    """

    def __init__(
        self, spec: ArchSpec, *, step: Step, reduce: bool, strided: MakeBlock | None = None
    ) -> None:
        super().__init__()
        strided = strided or functools.partial(Conv, kernel=3, stride=2, activation=spec.activation)
        _, c3, c4, c5 = (stage.out for stage in spec.stages)
        up1, up2, down1, down2 = spec.neck
        self.up1 = UpMerge(c5, c4, up1, spec, step=step, reduce=reduce)
        self.up2 = UpMerge(up1.out, c3, up2, spec, step=step, reduce=reduce)
        down = functools.partial(DownMerge, spec=spec, step=step, strided=strided)
        self.down1 = down(up2.out, self.up2.width, down1)
        self.down2 = down(down1.out, self.up1.width, down2)

    def forward(
        self, features: tuple[Tensor, Tensor, Tensor, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        _, c3, c4, c5 = features
        top, fused = self.up1(c5, c4)
        middle, p3 = self.up2(fused, c3)
        p4 = self.down1(p3, middle)
        return p3, p4, self.down2(p4, top)
