"""The field's models as architectures: YOLOv5, v7, v8 and YOLOX, by their published scaling rules.

How each family is wired, and from which papers, is in `nn.families`. They are here to be trained
and timed side by side with YOLO-NAS on one device; of YOLOX alone the weights are read, too.
"""

from __future__ import annotations

import dataclasses

from detkit.spec.arch import ArchSpec, NeckSpec, StageSpec


def _yolov5(name: str, *, depth: float, width: float) -> ArchSpec:
    return _csp(
        name,
        family="yolov5",
        outs=_scaled((64, 128, 256, 512, 1024), width),
        blocks=_repeats((3, 6, 9, 3), depth),
        neck_blocks=_repeats((3,), depth)[0],
        concat=False,
        head_widths=(),
    )


def _yolov8(name: str, *, depth: float, width: float, last: int) -> ArchSpec:
    """A YOLOv8; `last`: channels of the last stage before they are scaled."""
    outs = _scaled((64, 128, 256, 512, last), width)
    return _csp(
        name,
        family="yolov8",
        outs=outs,
        blocks=_repeats((3, 6, 6, 3), depth),
        neck_blocks=_repeats((3,), depth)[0],
        concat=True,
        head_widths=(max(outs[2], 80),) * 3,
        reg_max=15,
    )


def _csp(
    name: str,
    *,
    family: str,
    outs: tuple[int, ...],
    blocks: tuple[int, ...],
    neck_blocks: int,
    concat: bool,
    head_widths: tuple[int, ...],
    reg_max: int = 16,
) -> ArchSpec:
    """A CSP network; `outs` are the channels of stem and stages, CSP layers have half inside."""
    stem, _, c3, c4, c5 = outs
    return ArchSpec(
        name=name,
        family=family,
        block="conv",
        activation="silu",
        stem=stem,
        stages=tuple(
            StageSpec(out=out, hidden=out // 2, blocks=count, concat=concat)
            for out, count in zip(outs[1:], blocks, strict=True)
        ),
        neck=tuple(
            NeckSpec(out=out, hidden=out // 2, blocks=neck_blocks, concat=concat)
            for out in (c4, c3, c4, c5)
        ),
        head_widths=head_widths,
        reg_max=reg_max,
    )


def _yolox(name: str, *, depth: float, width: float, size: int, block: str = "conv") -> ArchSpec:
    """A YOLOX; `reg_max` is that of the head it is trained with."""
    (steps,) = _repeats((3,), depth)
    spec = _csp(
        name,
        family="yolox",
        outs=_scaled((64, 128, 256, 512, 1024), width),
        blocks=(steps, 3 * steps, 3 * steps, steps),
        neck_blocks=steps,
        concat=False,
        head_widths=_scaled((256,) * 3, width),
    )
    return dataclasses.replace(spec, block=block, image_size=(size, size))


def _scaled(channels: tuple[int, ...], width: float) -> tuple[int, ...]:
    return tuple(int(count * width) for count in channels)


def _repeats(blocks: tuple[int, ...], depth: float) -> tuple[int, ...]:
    return tuple(max(1, round(count * depth)) for count in blocks)


def _yolov7(
    name: str,
    *,
    block: str,
    stem: int,
    pairs: int,
    neck: tuple[tuple[int, int], ...],
    wide_neck: bool,
) -> ArchSpec:
    """A YOLOv7; `pairs` of convolutions in each ELAN; `neck`: out and hidden of its stages."""
    hidden = (64, 128, 256, 256)
    outs = tuple(stem * factor for factor in (4, 8, 16, 16))
    neck_pairs = 2 if wide_neck else pairs
    return ArchSpec(
        name=name,
        family="yolov7",
        block=block,
        activation="silu",
        stem=stem,
        stages=tuple(
            StageSpec(out=out, hidden=width, blocks=pairs)
            for out, width in zip(outs, hidden, strict=True)
        ),
        neck=tuple(
            NeckSpec(out=out, hidden=width, blocks=neck_pairs, concat=wide_neck)
            for out, width in neck
        ),
        head_widths=tuple(stem * factor for factor in (4, 8, 16)),
    )


PEERS: tuple[ArchSpec, ...] = (
    _yolov5("yolov5-s", depth=0.33, width=0.50),
    _yolov5("yolov5-m", depth=0.67, width=0.75),
    _yolov5("yolov5-l", depth=1.0, width=1.0),
    _yolov7(
        "yolov7",
        block="repvgg",
        stem=64,
        pairs=2,
        neck=((256, 128), (128, 64), (256, 128), (512, 256)),
        wide_neck=True,
    ),
    _yolov7(
        "yolov7-x",
        block="conv",
        stem=80,
        pairs=3,
        neck=((320, 256), (160, 128), (320, 256), (640, 512)),
        wide_neck=False,
    ),
    _yolov8("yolov8-n", depth=0.33, width=0.25, last=1024),
    _yolov8("yolov8-s", depth=0.33, width=0.50, last=1024),
    _yolov8("yolov8-m", depth=0.67, width=0.75, last=768),
    _yolov8("yolov8-l", depth=1.0, width=1.0, last=512),
    _yolox("yolox-nano", depth=0.33, width=0.25, size=416, block="depthwise"),
    _yolox("yolox-tiny", depth=0.33, width=0.375, size=416),
    _yolox("yolox-s", depth=0.33, width=0.50, size=640),
    _yolox("yolox-m", depth=0.67, width=0.75, size=640),
    _yolox("yolox-l", depth=1.0, width=1.0, size=640),
    _yolox("yolox-x", depth=1.33, width=1.25, size=640),
)
