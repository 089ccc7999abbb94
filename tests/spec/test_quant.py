from __future__ import annotations

import pytest

from detkit.core.errors import UsageError
from detkit.core.serialization import from_json, to_json
from detkit.engines import int8_engines
from detkit.engines.int8_graph import check_int8_engine
from detkit.spec.quant import CALIBRATORS, WEIGHT_BITS, QuantSpec


def test_spec_survives_json() -> None:
    spec = QuantSpec(
        weight_bits=7, calibrator="mse", float_groups=("a.b", "c"), calibration_images=3
    )
    assert from_json(QuantSpec, to_json(spec), where="here") == spec


@pytest.mark.parametrize("bits", WEIGHT_BITS)
@pytest.mark.parametrize("calibrator", CALIBRATORS)
def test_every_known_choice_is_a_scheme(bits: int, calibrator: str) -> None:
    assert QuantSpec(weight_bits=bits, calibrator=calibrator).float_groups == ()


@pytest.mark.parametrize("bits", [0, 4, 6, 9, 16])
def test_other_bits_are_refused(bits: int) -> None:
    with pytest.raises(UsageError, match=f"weight_bits is 7 or 8, not {bits}"):
        QuantSpec(weight_bits=bits)


def test_unknown_calibrator_suggests_the_near_one() -> None:
    with pytest.raises(UsageError, match="unknown calibrator 'entropie'") as caught:
        QuantSpec(calibrator="entropie")
    assert caught.value.hint == "did you mean 'entropy'?"


def test_unknown_target_suggests_the_near_one() -> None:
    for target in int8_engines():
        check_int8_engine(target)
    with pytest.raises(UsageError, match="unknown target 'tensort'") as caught:
        check_int8_engine("tensort")
    assert caught.value.hint == "did you mean 'tensorrt'?"
