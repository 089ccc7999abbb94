"""Tables of variants whose advice can be worked out by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from detkit.advise.recommend import VariantLimits, commands, recommend
from detkit.report import Variant

FREE = VariantLimits(max_drop=0.5, max_ms=None)


def variant(engine: str, precision: str, ms: float, *, drop: float = 0.0, **fields: Any) -> Variant:
    """Its times are against 10 ms, give or take 2 %."""
    ratio = ms / 10
    given = {
        "drop_noise": 0.05,
        "ratio": ratio,
        "ratio_low": ratio * 0.98,
        "ratio_high": ratio * 1.02,
    }
    return Variant(
        runtime=engine,
        precision=precision,
        ap=0.5 - drop / 100,
        drop=drop,
        latency_ms=ms,
        bytes=1000,
        **{**given, **fields},
    )


FLOATS = (variant("torch", "fp32", 20.0), variant("onnxruntime", "fp32", 10.0))


def advice_on(*others: Variant, limits: VariantLimits = FREE) -> str:
    return recommend((*FLOATS, *others), limits, images=87).advice


def test_fast_and_good_int8_is_shipped() -> None:
    found = recommend((*FLOATS, variant("openvino", "int8", 3.45, drop=0.2)), FREE, images=87)
    assert found.chosen == 2
    assert found.advice == (
        "ship int8 on openvino: 2.9x faster than fp32 on onnxruntime, 0.2 points below float"
    )


def test_int8_that_loses_too_much_is_not() -> None:
    int8 = variant("openvino", "int8", 3.0, drop=1.3, drop_noise=0.2)
    assert advice_on(int8) == (
        "stay in fp32 on onnxruntime: int8 on openvino would lose 1.3 +- 0.2 points, limit 0.5"
    )
    assert advice_on(int8, limits=VariantLimits(max_drop=2, max_ms=None)).startswith(
        "ship int8 on openvino"
    )


def test_int8_slower_than_float_is_never_shipped() -> None:
    slow = variant("onnxruntime", "int8", 13.0)
    assert advice_on(slow) == (
        "stay in fp32 on onnxruntime: int8 on onnxruntime is slower than fp32 on onnxruntime"
    )


def test_int8_whose_gain_is_noise_is_not_shipped_and_that_is_said() -> None:
    near = variant("onnxruntime", "int8", 9.9, ratio_low=0.95, ratio_high=1.03)
    assert "is within the noise as slow as" in advice_on(near)


def test_drop_within_the_noise_of_the_images_is_said() -> None:
    line = advice_on(variant("openvino", "int8", 4.0, drop=0.2, drop_noise=0.15))
    assert line.endswith("0.2 points below float, which is within the noise of 87 images")


def test_two_that_cannot_be_told_apart_are_both_named() -> None:
    line = advice_on(
        variant("openvino", "int8", 4.0, drop=-0.2),
        variant("onnxruntime", "int8", 4.05),
        variant("tensorrt", "int8", 5.0),
    )
    assert line == (
        "ship int8 on openvino: 2.5x faster than fp32 on onnxruntime, 0.2 points above float;"
        " int8 on onnxruntime cannot be told from it in time"
    )


def test_fastest_float_is_what_the_others_are_held_against() -> None:
    variants = (*FLOATS, variant("openvino", "fp32", 9.0))
    assert recommend(variants, FREE, images=1).chosen == 2


def test_limit_on_time_leaves_nothing_and_says_why() -> None:
    found = recommend(
        (*FLOATS, variant("openvino", "int8", 4.0, drop=2)),
        VariantLimits(max_drop=0.5, max_ms=5),
        images=87,
    )
    assert found.chosen is None
    assert "fp32 on onnxruntime takes 10.00 ms, limit 5" in found.advice
    assert "int8 on openvino would lose 2.0" in found.advice


@pytest.mark.parametrize(
    ("engine", "precision", "expected"),
    [
        ("torch", "fp32", ["detkit reparam 'a b.safetensors'"]),
        ("onnxruntime", "fp32", ["detkit export --to onnx 'a b.safetensors'"]),
        ("tensorrt", "fp16", ["detkit export --to tensorrt --half 'a b.safetensors'"]),
        (
            "openvino",
            "int8",
            [
                "detkit quantize --int8 'a b.safetensors' --data coco --target openvino"
                " -o 'a b.int8.safetensors'",
                "detkit export --to openvino 'a b.int8.safetensors'",
            ],
        ),
    ],
)
def test_commands_make_the_form(engine: str, precision: str, expected: list[str]) -> None:
    made = commands(variant(engine, precision, 1.0), Path("a b.safetensors"), Path("coco"))
    assert list(made) == expected
