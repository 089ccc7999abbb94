"""YOLO-NAS (super-gradients 3.7.1): its own neck and head are those of `nn.neck` and `nn.head`."""

from __future__ import annotations

from detkit.nn.backbone import Backbone
from detkit.nn.blocks import SPP, Bottleneck
from detkit.nn.plain_blocks import block_maker, strided_block
from detkit.spec.arch import ArchSpec


def backbone(spec: ArchSpec) -> Backbone:
    return Backbone(
        spec,
        stem=strided_block(spec, 3, spec.stem),
        step=lambda channels: Bottleneck(channels, block_maker(spec)),
        pooling=SPP,
    )
