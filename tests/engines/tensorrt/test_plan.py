"""The pure part of building an engine."""

from __future__ import annotations

import onnx
import pytest

from detkit.core.errors import UsageError
from detkit.engines.tensorrt.build_machine import Machine
from detkit.engines.tensorrt.plan import EnginePlan, timing_cache_name


def graph(*inputs: str) -> onnx.ModelProto:
    return onnx.parser.parse_model(
        f'<ir_version: 9, opset_import: ["" : 17]> g ({", ".join(inputs)}) => (float[n] y)'
        " { y = Identity (x) }"
    )


def test_the_profile_gives_each_free_batch_its_three_sizes() -> None:
    plan = EnginePlan(batches=(1, 4, 16))
    found = plan.profile(graph("float[n,3,8,6] x", "uint8[batch,5] y", "float[2,3] fixed"))
    assert found == {
        "x": ((1, 3, 8, 6), (4, 3, 8, 6), (16, 3, 8, 6)),
        "y": ((1, 5), (4, 5), (16, 5)),
    }


def test_only_the_batch_may_be_free() -> None:
    with pytest.raises(UsageError, match="input 'x': only its batch may be free"):
        EnginePlan().profile(graph("float[n,3,height,6] x"))


@pytest.mark.parametrize("batches", [(0, 1, 2), (2, 1, 4), (1, 8, 4)])
def test_batches_out_of_order_are_refused(batches: tuple[int, int, int]) -> None:
    with pytest.raises(UsageError, match="make no sense"):
        EnginePlan(batches=batches)


def test_fp32_is_not_rounded_to_tf32_unless_asked_for() -> None:
    assert EnginePlan().flags == {"TF32": False}
    assert EnginePlan(tf32=True).flags == {"TF32": True}


def test_tactics_are_remembered_for_one_gpu_and_version() -> None:
    machine = Machine(gpu="Orin", compute_capability="8.7", library="tensorrt", version="10.3.0")
    assert timing_cache_name(machine) == "tensorrt-10.3.0-sm8.7.timing"
