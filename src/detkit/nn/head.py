"""Heads on three levels: the decoupled one of YOLO-NAS, and what heads of all families share.

Legend: B batch, A anchor points of all levels, C classes, D = 4 * (reg_max + 1) distance bins.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from detkit.nn.blocks import QuantGroup, SeqConv
from detkit.spec.arch import ArchSpec

CLASS_PRIOR = 0.01  # probability that an untrained head gives to each class


def class_predictor(channels: int, spec: ArchSpec) -> nn.Conv2d:
    """Gives every class the probability `CLASS_PRIOR` before training."""
    conv = nn.Conv2d(channels, spec.num_classes, 1)
    assert conv.bias is not None
    nn.init.constant_(conv.bias, -math.log(1 / CLASS_PRIOR - 1))
    return conv


def distance_predictor(channels: int, spec: ArchSpec) -> nn.Conv2d:
    return nn.Conv2d(channels, 4 * (spec.reg_max + 1), 1)


def expected_distances(distance_logits_bad: Tensor) -> Tensor:
    """Expectations (B, A, 4) of left, top, right, bottom, in cells, of (B, A, D).

    A multiply and a sum, because OpenVINO could not handle the form as a convolution.
    """
    num_bins = distance_logits_bad.shape[-1] // 4
    logits = distance_logits_bad.reshape(*distance_logits_bad.shape[:-1], 4, num_bins)
    bins = torch.arange(num_bins, dtype=logits.dtype, device=logits.device)
    expected: Tensor = (logits.softmax(dim=-1) * bins).sum(dim=-1)
    return expected


class Head(QuantGroup):
    """The head of one level: a map -> class logits (B, C, H, W), distances (B, D, H, W)."""

    def __init__(self, c_in: int, width: int, spec: ArchSpec) -> None:
        super().__init__()
        activation = spec.activation
        self.stem = SeqConv(c_in, width, 1, activation=activation)
        self.cls_convs = nn.Sequential(SeqConv(width, width, 3, activation=activation))
        self.cls_pred = class_predictor(width, spec)
        self.reg_convs = nn.Sequential(SeqConv(width, width, 3, activation=activation))
        self.reg_pred = distance_predictor(width, spec)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.stem(x)
        return self.cls_pred(self.cls_convs(x)), self.reg_pred(self.reg_convs(x))


HeadKind = Callable[[int, int, ArchSpec], nn.Module]  # channels, width -> what `Head` promises


class Heads(nn.Module):
    """p3, p4, p5 -> class logits (B, A, C) and distance logits (B, A, D), levels in order.

    D is side-major: all bins of left, then top, right, bottom.
    """

    def __init__(self, spec: ArchSpec, head: HeadKind) -> None:
        super().__init__()
        channels = [stage.out for stage in spec.neck[1:]]
        widths = spec.head_widths or channels
        self.head1 = head(channels[0], widths[0], spec)
        self.head2 = head(channels[1], widths[1], spec)
        self.head3 = head(channels[2], widths[2], spec)

    def forward(self, features: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        heads = (self.head1, self.head2, self.head3)
        levels = [head(feature) for head, feature in zip(heads, features, strict=True)]
        logits, distances = (
            torch.cat([part.flatten(2).transpose(1, 2) for part in parts], dim=1)
            for parts in zip(*levels, strict=True)
        )
        return logits, distances
