"""YOLOv7 and YOLOv7-X: ELAN, two-way downsampling, CSP pooling, planned re-parameterization.

Written from the paper (Wang et al., 2022, arXiv 2207.02696), CSPNet (arXiv 1911.11929), ELAN (Wang
et al., 2022, arXiv 2211.04800) and the published counts. `block` is the kind of the convolution
before the predictors: "repvgg" in YOLOv7, "conv" in YOLOv7-X. As in `nn.families.yolov5`, two plain
predictors stand for the anchors' one; the auxiliary head, which is only trained with, is left out.

The `hidden` of a stage is the width of its 3x3 convolutions, `blocks` the number of pairs of them.
Attributes are the names of tensors in checkpoints: `bypass` is a shortcut, `mix` the convolution of
the output.
"""

from __future__ import annotations

import functools

from torch import Tensor, nn

from detkit.nn.backbone import Stem
from detkit.nn.blocks import Conv, QuantGroup
from detkit.nn.head import class_predictor, distance_predictor
from detkit.nn.memory_format import concatenate
from detkit.nn.plain_blocks import block_maker
from detkit.spec.arch import ArchSpec, NeckSpec, StageSpec


class ELAN(QuantGroup):
    """Two 1x1 paths, one through a chain of convolutions; what passes by is concatenated too.

    Each pair of the chain is concatenated. In the wide form (`concat`, YOLOv7's neck) each of its
    convolutions is, and the 1x1 paths have twice the width.
    """

    def __init__(self, c_in: int, stage: StageSpec | NeckSpec, spec: ArchSpec) -> None:
        super().__init__()
        conv = functools.partial(Conv, activation=spec.activation)
        self.every = 1 if stage.concat else 2
        width = stage.hidden * 2 // self.every
        self.bypass = conv(c_in, width, 1)
        self.entry = conv(c_in, width, 1)
        length = 2 * stage.blocks
        inputs = [width, *[stage.hidden] * (length - 1)]
        self.chain = nn.ModuleList(conv(c, stage.hidden, spec.kernel) for c in inputs)
        self.mix = conv(2 * width + length // self.every * stage.hidden, stage.out, 1)

    def forward(self, x: Tensor) -> Tensor:
        steps = [self.entry(x)]
        for conv in self.chain:
            steps.append(conv(steps[-1]))
        out: Tensor = self.mix(concatenate([*steps[:: self.every], self.bypass(x)]))
        return out


class Downsample(nn.Module):
    """Downsamples by max-pool and by convolution side by side, each of `width` channels."""

    def __init__(self, c_in: int, width: int, spec: ArchSpec) -> None:
        super().__init__()
        conv = functools.partial(Conv, activation=spec.activation)
        self.pool = nn.MaxPool2d(2)
        self.pooled = conv(c_in, width, 1)
        self.reduce = conv(c_in, width, 1)
        self.strided = conv(width, width, 3, 2)

    def forward(self, x: Tensor) -> list[Tensor]:
        return [self.strided(self.reduce(x)), self.pooled(self.pool(x))]


class CSPPooling(QuantGroup):
    """Spatial pyramid pooling with convolutions around it, in one of two paths of `width`."""

    def __init__(self, c_in: int, width: int, *, activation: str) -> None:
        super().__init__()
        conv = functools.partial(Conv, activation=activation)
        self.before = nn.Sequential(
            conv(c_in, width, 1), conv(width, width, 3), conv(width, width, 1)
        )
        self.pools = nn.ModuleList(nn.MaxPool2d(k, stride=1, padding=k // 2) for k in (5, 9, 13))
        self.after = nn.Sequential(conv(4 * width, width, 1), conv(width, width, 3))
        self.bypass = conv(c_in, width, 1)
        self.mix = conv(2 * width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.before(x)
        y = self.after(concatenate([y, *(pool(y) for pool in self.pools)]))
        out: Tensor = self.mix(concatenate([y, self.bypass(x)]))
        return out


class Stage(QuantGroup):
    """Halves the scale at equal width, then an ELAN."""

    def __init__(self, c_in: int, stage: StageSpec, spec: ArchSpec) -> None:
        super().__init__()
        self.downsample = Downsample(c_in, c_in // 2, spec)
        self.blocks = ELAN(2 * (c_in // 2), stage, spec)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.blocks(concatenate(self.downsample(x)))
        return out


class FirstStage(QuantGroup):
    """Halves the scale and doubles the width by one convolution, then an ELAN."""

    def __init__(self, c_in: int, stage: StageSpec, spec: ArchSpec) -> None:
        super().__init__()
        self.downsample = Conv(c_in, 2 * c_in, 3, 2, activation=spec.activation)
        self.blocks = ELAN(2 * c_in, stage, spec)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.blocks(self.downsample(x))
        return out


class Backbone(nn.Module):
    """Images (B, 3, H, W) -> features c2, c3, c4, c5 at strides 4, 8, 16, 32."""

    def __init__(self, spec: ArchSpec) -> None:
        super().__init__()
        conv = functools.partial(Conv, activation=spec.activation)
        half = spec.stem // 2
        convs = (conv(3, half, 3), conv(half, spec.stem, 3, 2), conv(spec.stem, spec.stem, 3))
        self.stem = Stem(nn.Sequential(*convs))
        widths = [stage.out for stage in spec.stages]
        self.stage1 = FirstStage(spec.stem, spec.stages[0], spec)
        self.stage2 = Stage(widths[0], spec.stages[1], spec)
        self.stage3 = Stage(widths[1], spec.stages[2], spec)
        self.stage4 = Stage(widths[2], spec.stages[3], spec)
        self.context_module = CSPPooling(widths[3], widths[3] // 2, activation=spec.activation)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        c2 = self.stage1(self.stem(x))
        c3 = self.stage2(c2)
        c4 = self.stage3(c3)
        return c2, c3, c4, self.context_module(self.stage4(c4))


class UpMerge(QuantGroup):
    """(x, skip at twice the scale) -> fused map at the skip's scale."""

    def __init__(self, c_in: int, skip: int, stage: NeckSpec, spec: ArchSpec) -> None:
        super().__init__()
        conv = functools.partial(Conv, activation=spec.activation)
        self.reduce = conv(c_in, stage.out, 1)
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")
        self.reduce_skip = conv(skip, stage.out, 1)
        self.blocks = ELAN(2 * stage.out, stage, spec)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        paths = [self.reduce_skip(skip), self.upsample(self.reduce(x))]
        out: Tensor = self.blocks(concatenate(paths))
        return out


class DownMerge(QuantGroup):
    """(x, skip at half the scale) -> fused map at the skip's scale."""

    def __init__(self, c_in: int, skip: int, stage: NeckSpec, spec: ArchSpec) -> None:
        super().__init__()
        self.downsample = Downsample(c_in, c_in, spec)
        self.blocks = ELAN(2 * c_in + skip, stage, spec)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        out: Tensor = self.blocks(concatenate([*self.downsample(x), skip]))
        return out


class Neck(nn.Module):
    """Features c2..c5 -> p3, p4, p5 at strides 8, 16, 32."""

    def __init__(self, spec: ArchSpec) -> None:
        super().__init__()
        _, c3, c4, c5 = (stage.out for stage in spec.stages)
        up1, up2, down1, down2 = spec.neck
        self.up1 = UpMerge(c5 // 2, c4, up1, spec)
        self.up2 = UpMerge(up1.out, c3, up2, spec)
        self.down1 = DownMerge(up2.out, up1.out, down1, spec)
        self.down2 = DownMerge(down1.out, c5 // 2, down2, spec)

    def forward(
        self, features: tuple[Tensor, Tensor, Tensor, Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        _, c3, c4, c5 = features
        fused = self.up1(c5, c4)
        p3 = self.up2(fused, c3)
        p4 = self.down1(p3, fused)
        return p3, p4, self.down2(p4, c5)


class Head(QuantGroup):
    """The head of one level: a 3x3 convolution of the spec's `block`, then two predictors."""

    def __init__(self, c_in: int, width: int, spec: ArchSpec) -> None:
        super().__init__()
        self.conv = block_maker(spec)(c_in, width)
        self.cls_pred = class_predictor(width, spec)
        self.reg_pred = distance_predictor(width, spec)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.conv(x)
        return self.cls_pred(x), self.reg_pred(x)
