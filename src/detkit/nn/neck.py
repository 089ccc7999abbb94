"""The YOLO-NAS neck: a PAN-FPN whose up stages also take the next finer backbone level."""

from __future__ import annotations

import functools

from torch import Tensor, nn

from detkit.nn.blocks import Bottleneck, Conv, QuantGroup
from detkit.nn.memory_format import concatenate
from detkit.nn.plain_blocks import block_maker, csp_layer
from detkit.spec.arch import ArchSpec, NeckSpec


class UpStage(QuantGroup):
    """(x, skip at twice the scale, skip one level finer) -> (reduced x, fused map at the skip)."""

    def __init__(self, c_in: int, skips: tuple[int, int], stage: NeckSpec, spec: ArchSpec) -> None:
        super().__init__()
        conv = functools.partial(Conv, activation=spec.activation)
        out = stage.out
        self.conv = conv(c_in, out, 1)
        self.upsample = nn.ConvTranspose2d(out, out, 2, 2)
        self.reduce_skip1 = conv(skips[0], out, 1)
        self.reduce_skip2 = conv(skips[1], out, 1)
        self.downsample = conv(out, out, 3, 2)
        self.reduce_after_concat = conv(3 * out, out, 1)
        self.blocks = csp_layer(out, stage, spec, lambda c: Bottleneck(c, block_maker(spec)))

    def forward(self, x: Tensor, skip1: Tensor, skip2: Tensor) -> tuple[Tensor, Tensor]:
        reduced = self.conv(x)
        finer = self.downsample(self.reduce_skip2(skip2))
        paths = [self.upsample(reduced), self.reduce_skip1(skip1), finer]
        return reduced, self.blocks(self.reduce_after_concat(concatenate(paths)))


class DownStage(QuantGroup):
    """(x, skip at half the scale) -> fused map at the skip's scale; plain 3x3 bottlenecks."""

    def __init__(self, c_in: int, skip: int, stage: NeckSpec, spec: ArchSpec) -> None:
        super().__init__()
        conv = functools.partial(Conv, activation=spec.activation)
        half = stage.out // 2
        self.conv = conv(c_in, half, 3, 2)
        plain = functools.partial(conv, kernel=3)
        self.blocks = csp_layer(half + skip, stage, spec, lambda c: Bottleneck(c, plain))

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        out: Tensor = self.blocks(concatenate([self.conv(x), skip]))
        return out


class Neck(nn.Module):
    """Features c2..c5 -> p3, p4, p5 at strides 8, 16, 32."""

    def __init__(self, spec: ArchSpec) -> None:
        super().__init__()
        c2, c3, c4, c5 = (stage.out for stage in spec.stages)
        up1, up2, down1, down2 = spec.neck
        self.neck1 = UpStage(c5, (c4, c3), up1, spec)
        self.neck2 = UpStage(up1.out, (c3, c2), up2, spec)
        self.neck3 = DownStage(up2.out, up2.out, down1, spec)
        self.neck4 = DownStage(down1.out, up1.out, down2, spec)

    def forward(
        self, features: tuple[Tensor, Tensor, Tensor, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        c2, c3, c4, c5 = features
        reduced1, fused1 = self.neck1(c5, c4, c3)
        reduced2, p3 = self.neck2(fused1, c3, c2)
        p4 = self.neck3(p3, reduced2)
        return p3, p4, self.neck4(p4, reduced1)
