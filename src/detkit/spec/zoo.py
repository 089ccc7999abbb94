"""The named architectures: YOLO-NAS here, the field's others in `spec.yolo_families`.

S, M and L are exactly as published; N and P are ours, for small devices.

S, M, L: super-gradients 3.7.1, YOLO-NAS (Deci AI 2023), Apache-2.0 code. Deployed parameters
12.18 / 31.91 / 42.00 M. N is made for half the INT8 latency of YOLOv8n (3.15 M, 8.7 GFLOPs) on a
CPU: few channels where the maps are large, every width a multiple of 16. P is for tests and
microscopic budgets.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from detkit.core.errors import UsageError, did_you_mean
from detkit.spec.arch import ArchSpec, NeckSpec, StageSpec
from detkit.spec.json_file import read_spec
from detkit.spec.yolo_families import PEERS


def _stages(*rows: tuple[int, int, int, bool]) -> tuple[StageSpec, ...]:
    return tuple(StageSpec(out=o, hidden=h, blocks=n, concat=cat) for o, h, n, cat in rows)


def _neck(*rows: tuple[int, int, int]) -> tuple[NeckSpec, ...]:
    return tuple(NeckSpec(out=o, hidden=h, blocks=n) for o, h, n in rows)


# columns: out, hidden, blocks, concat | out, hidden, blocks
ZOO: dict[str, ArchSpec] = {
    spec.name: spec
    for spec in (
        ArchSpec(
            name="yolo-nas-p",
            stem=16,
            stages=_stages(
                (24, 16, 1, False), (48, 24, 1, False), (64, 32, 1, False), (96, 48, 1, False)
            ),
            neck=_neck((48, 24, 1), (32, 16, 1), (48, 24, 1), (64, 32, 1)),
            head_widths=(32, 48, 64),
        ),
        ArchSpec(
            name="yolo-nas-n",
            stem=16,
            stages=_stages(
                (32, 16, 1, False), (64, 32, 1, False), (112, 48, 2, False), (320, 128, 2, False)
            ),
            neck=_neck((64, 48, 1), (32, 32, 1), (64, 48, 1), (160, 96, 1)),
            head_widths=(32, 64, 96),
        ),
        ArchSpec(
            name="yolo-nas-s",
            stages=_stages(
                (96, 32, 2, False), (192, 64, 3, False), (384, 96, 5, False), (768, 192, 2, False)
            ),
            neck=_neck((192, 64, 2), (96, 48, 2), (192, 64, 2), (384, 64, 2)),
            head_widths=(64, 128, 256),
        ),
        ArchSpec(
            name="yolo-nas-m",
            stages=_stages(
                (96, 64, 2, True), (192, 128, 3, True), (384, 256, 5, True), (768, 384, 2, False)
            ),
            neck=_neck((192, 192, 2), (96, 64, 3), (192, 192, 2), (384, 256, 3)),
            head_widths=(96, 192, 384),
        ),
        ArchSpec(
            name="yolo-nas-l",
            stages=_stages(
                (96, 96, 2, True), (192, 128, 3, True), (384, 256, 5, True), (768, 512, 2, True)
            ),
            neck=_neck((192, 128, 4), (96, 128, 4), (192, 128, 4), (384, 256, 4)),
            head_widths=(128, 256, 512),
        ),
        *PEERS,
    )
}


def find_arch(model: str) -> ArchSpec:
    """The named architecture, or the one in an ArchSpec JSON file.

    >>> find_arch("yolo-nas-n").family
    'yolo-nas'
    >>> find_arch("yolo-nas-x")
    Traceback (most recent call last):
    detkit.core.errors.UsageError: unknown model 'yolo-nas-x'

    Raises:
        UsageError: neither a known name nor a readable file of the right shape.
    """
    if model in ZOO:
        return ZOO[model]
    path = Path(model)
    if path.suffix != ".json":
        raise UsageError(f"unknown model '{model}'", hint=did_you_mean(model, ZOO))
    return read_spec(ArchSpec, path, "architecture")


def with_task(spec: ArchSpec, num_classes: int, image_size: tuple[int, int]) -> ArchSpec:
    """Gives the same network for other classes and another input size.

    >>> with_task(find_arch("yolo-nas-n"), 3, (320, 320)).num_classes
    3
    """
    return dataclasses.replace(spec, num_classes=num_classes, image_size=image_size)
