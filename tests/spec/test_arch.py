from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from detkit.core.errors import UsageError
from detkit.core.serialization import from_json, to_json
from detkit.spec.arch import ArchSpec, NeckSpec, StageSpec, check_image_size, parse_image_size
from detkit.spec.zoo import ZOO

SPEC = ZOO["yolo-nas-s"]


def test_digest_is_of_the_choices_and_not_of_the_name() -> None:
    assert dataclasses.replace(SPEC, name="mine").digest == SPEC.digest
    for change in (
        {"stem": 32},
        {"block": "repvgg"},
        {"kernel": 5},
        {"family": "yolov8"},
        {"activation": "silu"},
        {"num_classes": 3},
        {"image_size": (640, 320)},
        {"stages": (dataclasses.replace(SPEC.stages[0], concat=True), *SPEC.stages[1:])},
    ):
        assert dataclasses.replace(SPEC, **change).digest != SPEC.digest


def test_digest_survives_the_round_trip_through_json() -> None:
    assert from_json(ArchSpec, to_json(SPEC)).digest == SPEC.digest


@pytest.mark.parametrize(
    ("size", "anchors"), [((640, 640), 8400), ((320, 640), 4200), ((32, 32), 16 + 4 + 1)]
)
def test_anchors_are_one_for_each_cell_of_three_levels(size: tuple[int, int], anchors: int) -> None:
    assert dataclasses.replace(SPEC, image_size=size).num_anchors == anchors


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"block": "qarep"}, "arch: unknown block 'qarep'"),
        ({"activation": "gelu"}, "arch: unknown activation 'gelu'"),
        ({"family": "yolov6"}, "arch: unknown family 'yolov6'"),
        ({"kernel": 7}, "arch: kernel is 3 or 5, not 7"),
        ({"family": "yolov5"}, "arch: head_widths needs 0 entries"),
        ({"stages": SPEC.stages[:3]}, "arch: stages needs 4 entries"),
        ({"neck": (*SPEC.neck, SPEC.neck[0])}, "arch: neck needs 4 entries"),
        ({"head_widths": ()}, "arch: head_widths needs 3 entries"),
        ({"stem": 0}, "is 1 to "),
        ({"reg_max": -1}, "is 1 to "),
        ({"num_classes": 0}, "is 1 to "),
        ({"head_widths": (1, 0, 1)}, "is 1 to "),
        ({"stages": (StageSpec(out=8, hidden=8, blocks=0), *SPEC.stages[1:])}, "is 1 to "),
        ({"neck": (*SPEC.neck[:3], NeckSpec(out=9, hidden=8, blocks=1))}, "need an even `out`"),
        ({"reg_max": 10**8}, "reg_max is 1 to 256, not 100000000"),
        ({"num_classes": 10**6}, "num_classes is 1 to 20000"),
        ({"stem": 10**5}, "a width is 1 to 8192"),
        ({"stages": (StageSpec(out=8, hidden=8, blocks=999), *SPEC.stages[1:])}, "1 to 128"),
        ({"image_size": (10**400, 64)}, "sides are 16384 pixels at most"),
        ({"image_size": (640, 100)}, "both sides must be multiples of 32"),
    ],
)
def test_impossible_architecture_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        dataclasses.replace(SPEC, **change)


@pytest.mark.parametrize(
    ("text", "size"), [("640", (640, 640)), ("480x640", (480, 640)), ("32X64", (32, 64))]
)
def test_image_size_is_height_by_width(text: str, size: tuple[int, int]) -> None:
    assert parse_image_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "x", "640x", "x640", "1x2x3", "-32", "3.2", "\u00b2", "six", "9" * 5000]
)
def test_text_that_is_no_image_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="write one number, or HEIGHTxWIDTH"):
        parse_image_size(text)


@pytest.mark.parametrize(
    ("size", "hint"), [((100, 640), "try 96x640"), ((0, 31), "try 32x32"), ((47, 49), "try 32x64")]
)
def test_size_that_is_no_multiple_of_32_suggests_the_nearest(
    size: tuple[int, int], hint: str
) -> None:
    with pytest.raises(UsageError) as caught:
        check_image_size(size)
    assert caught.value.hint == hint
