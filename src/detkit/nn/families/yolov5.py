"""YOLOv5, release 7: CSP backbone, PAN with 1x1 reductions, predictors straight on the maps.

Written from CSPNet (Wang et al., 2019, arXiv 1911.11929), the survey of Terven et al. (2023, arXiv
2304.00501) and the published counts. One difference: where YOLOv5 predicts three boxes a cell from
anchors, by a convolution of 3 x 85 channels, there is here one of class logits and one of
distances, as in all families: 148 channels for 80 classes.
"""

from __future__ import annotations

from torch import Tensor, nn

from detkit.nn.backbone import Backbone
from detkit.nn.blocks import SPPF, Conv, QuantGroup, Residual
from detkit.nn.families.pan import PAN
from detkit.nn.head import class_predictor, distance_predictor
from detkit.nn.plain_blocks import block_maker
from detkit.spec.arch import ArchSpec


def backbone(spec: ArchSpec) -> Backbone:
    return Backbone(
        spec,
        stem=Conv(3, spec.stem, 6, 2, activation=spec.activation),
        step=lambda channels: Residual(*_bottleneck(spec, channels)),
        pooling=SPPF,
    )


def neck(spec: ArchSpec) -> PAN:
    """A PAN whose bottlenecks have no shortcut."""
    return PAN(spec, step=lambda channels: nn.Sequential(*_bottleneck(spec, channels)), reduce=True)


def _bottleneck(spec: ArchSpec, channels: int) -> tuple[nn.Module, nn.Module]:
    return (
        Conv(channels, channels, 1, activation=spec.activation),
        block_maker(spec)(channels, channels),
    )


class Head(QuantGroup):
    """The head of one level: the two predictors, without a width to choose."""

    def __init__(self, c_in: int, _width: int, spec: ArchSpec) -> None:
        super().__init__()
        self.cls_pred = class_predictor(c_in, spec)
        self.reg_pred = distance_predictor(c_in, spec)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.cls_pred(x), self.reg_pred(x)
