"""The YOLO-NAS backbone: stem, four stages, spatial pyramid pooling."""

from __future__ import annotations

from torch import Tensor, nn

from detkit.nn.blocks import SPP, CSPLayer, Unit
from detkit.nn.qarep import BLOCKS
from detkit.spec.arch import ArchSpec, StageSpec


def residual_unit(spec: ArchSpec) -> Unit:
    """The re-parameterizable block of `spec`, stride 1 and with its identity branch."""

    def unit(c_in: int, c_out: int) -> nn.Module:
        return BLOCKS[spec.block](c_in, c_out, residual=True, activation=spec.activation)

    return unit


class Stem(nn.Module):
    """Stride-2 block from RGB."""

    def __init__(self, spec: ArchSpec) -> None:
        super().__init__()
        self.conv = BLOCKS[spec.block](3, spec.stem, stride=2, activation=spec.activation)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv(x)
        return out


class Stage(nn.Module):
    """Stride-2 block, then a CSP layer."""

    def __init__(self, c_in: int, stage: StageSpec, spec: ArchSpec) -> None:
        super().__init__()
        self.downsample = BLOCKS[spec.block](c_in, stage.out, stride=2, activation=spec.activation)
        self.blocks = CSPLayer(
            stage.out,
            stage.out,
            hidden=stage.hidden,
            blocks=stage.blocks,
            concat=stage.concat,
            unit=residual_unit(spec),
            activation=spec.activation,
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.blocks(self.downsample(x))
        return out


class Backbone(nn.Module):
    """Images (B, 3, H, W) -> features c2, c3, c4, c5 at strides 4, 8, 16, 32."""

    def __init__(self, spec: ArchSpec) -> None:
        super().__init__()
        self.stem = Stem(spec)
        widths = [spec.stem, *(stage.out for stage in spec.stages)]
        self.stage1 = Stage(widths[0], spec.stages[0], spec)
        self.stage2 = Stage(widths[1], spec.stages[1], spec)
        self.stage3 = Stage(widths[2], spec.stages[2], spec)
        self.stage4 = Stage(widths[3], spec.stages[3], spec)
        self.context_module = SPP(widths[4], activation=spec.activation)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        c2 = self.stage1(self.stem(x))
        c3 = self.stage2(c2)
        c4 = self.stage3(c3)
        return c2, c3, c4, self.context_module(self.stage4(c4))
