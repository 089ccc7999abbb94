"""The backbone of YOLO-NAS, YOLOv5 and YOLOv8: stem, four CSP stages, pyramid pooling."""

from __future__ import annotations

from torch import Tensor, nn

from detkit.nn.blocks import SPP, SPPF, QuantGroup, Step
from detkit.nn.plain_blocks import csp_layer, strided_block
from detkit.spec.arch import ArchSpec, StageSpec


class Stem(QuantGroup):
    """The first block, of stride 2, from RGB."""

    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return out


class Stage(QuantGroup):
    """A block of stride 2, then a CSP layer."""

    def __init__(self, c_in: int, stage: StageSpec, spec: ArchSpec, step: Step) -> None:
        super().__init__()
        self.downsample = strided_block(spec, c_in, stage.out)
        self.blocks = csp_layer(stage.out, stage, spec, step)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.blocks(self.downsample(x))
        return out


class Backbone(nn.Module):
    """Images (B, 3, H, W) -> features c2, c3, c4, c5 at strides 4, 8, 16, 32."""

    def __init__(
        self, spec: ArchSpec, *, stem: nn.Module, step: Step, pooling: type[SPP] | type[SPPF]
    ) -> None:
        """Builds all stages; `step` makes the bottlenecks of the CSP layers."""
        super().__init__()
        self.stem = Stem(stem)
        widths = [spec.stem, *(stage.out for stage in spec.stages)]
        self.stage1 = Stage(widths[0], spec.stages[0], spec, step)
        self.stage2 = Stage(widths[1], spec.stages[1], spec, step)
        self.stage3 = Stage(widths[2], spec.stages[2], spec, step)
        self.stage4 = Stage(widths[3], spec.stages[3], spec, step)
        self.context_module = pooling(widths[4], activation=spec.activation)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        c2 = self.stage1(self.stem(x))
        c3 = self.stage2(c2)
        c4 = self.stage3(c3)
        return c2, c3, c4, self.context_module(self.stage4(c4))
