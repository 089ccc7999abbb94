"""The YOLO-NAS heads: decoupled class and box branches on three levels.

Legend: B batch, A anchor points of all levels, C classes, D = 4 * (reg_max + 1) distance bins.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from detkit.nn.blocks import SeqConv
from detkit.spec.arch import ArchSpec

CLASS_PRIOR = 0.01  # probability that an untrained head gives to each class


class Head(nn.Module):
    """One level: feature map -> class logits (B, C, H, W) and distance logits (B, D, H, W)."""

    def __init__(self, c_in: int, width: int, spec: ArchSpec) -> None:
        super().__init__()
        activation = spec.activation
        self.stem = SeqConv(c_in, width, 1, activation=activation)
        self.cls_convs = nn.Sequential(SeqConv(width, width, 3, activation=activation))
        self.cls_pred = nn.Conv2d(width, spec.num_classes, 1)
        self.reg_convs = nn.Sequential(SeqConv(width, width, 3, activation=activation))
        self.reg_pred = nn.Conv2d(width, 4 * (spec.reg_max + 1), 1)
        assert self.cls_pred.bias is not None
        nn.init.constant_(self.cls_pred.bias, -math.log(1 / CLASS_PRIOR - 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.stem(x)
        return self.cls_pred(self.cls_convs(x)), self.reg_pred(self.reg_convs(x))


class Heads(nn.Module):
    """p3, p4, p5 -> class logits (B, A, C) and distance logits (B, A, D), levels in order.

    D is side-major: all bins of left, then top, right, bottom.
    """

    def __init__(self, spec: ArchSpec) -> None:
        super().__init__()
        widths = spec.head_widths
        self.head1 = Head(spec.neck[1].out, widths[0], spec)
        self.head2 = Head(spec.neck[2].out, widths[1], spec)
        self.head3 = Head(spec.neck[3].out, widths[2], spec)

    def forward(self, features: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        heads = (self.head1, self.head2, self.head3)
        levels = [head(feature) for head, feature in zip(heads, features, strict=True)]
        logits, distances = (
            torch.cat([part.flatten(2).transpose(1, 2) for part in parts], dim=1)
            for parts in zip(*levels, strict=True)
        )
        return logits, distances
