"""YOLOv8: CSP layers that concatenate every step, PAN without reductions, decoupled heads.

Written from the survey of Terven et al. (2023, arXiv 2304.00501), Generalized Focal Loss (Li et
al., 2020, arXiv 2006.04388) for the distance distribution, and the published counts. The first 1x1
of a CSP layer, whose output YOLOv8 splits in halves, is two convolutions here, which compute the
same at the same cost in parameters and multiply-adds.
"""

from __future__ import annotations

from torch import Tensor, nn

from detkit.nn.backbone import Backbone
from detkit.nn.blocks import SPPF, Conv, QuantGroup, Residual
from detkit.nn.families.pan import PAN
from detkit.nn.head import class_predictor, distance_predictor
from detkit.nn.plain_blocks import block_maker, strided_block
from detkit.spec.arch import ArchSpec


def backbone(spec: ArchSpec) -> Backbone:
    return Backbone(
        spec,
        stem=strided_block(spec, 3, spec.stem),
        step=lambda channels: Residual(*_bottleneck(spec, channels)),
        pooling=SPPF,
    )


def neck(spec: ArchSpec) -> PAN:
    """A PAN whose bottlenecks have no shortcut."""
    return PAN(
        spec, step=lambda channels: nn.Sequential(*_bottleneck(spec, channels)), reduce=False
    )


def _bottleneck(spec: ArchSpec, channels: int) -> tuple[nn.Module, nn.Module]:
    make_block = block_maker(spec)
    return make_block(channels, channels), make_block(channels, channels)


class Head(QuantGroup):
    """The head of one level: two 3x3 and a predictor for classes, the same for distances.

    `width` is that of the class branch; that of the box branch follows from it.
    """

    def __init__(self, c_in: int, width: int, spec: ArchSpec) -> None:
        super().__init__()
        box_width = max(width // 4, 4 * (spec.reg_max + 1))
        self.cls_convs = _two_convs(c_in, width, spec)
        self.cls_pred = class_predictor(width, spec)
        self.reg_convs = _two_convs(c_in, box_width, spec)
        self.reg_pred = distance_predictor(box_width, spec)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.cls_pred(self.cls_convs(x)), self.reg_pred(self.reg_convs(x))


def _two_convs(c_in: int, width: int, spec: ArchSpec) -> nn.Sequential:
    return nn.Sequential(
        Conv(c_in, width, 3, activation=spec.activation),
        Conv(width, width, 3, activation=spec.activation),
    )
