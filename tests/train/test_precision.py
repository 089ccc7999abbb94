from __future__ import annotations

import pytest
import torch

from detkit.train.precision import LossScaler, half_type

CPU = torch.device("cpu")


@pytest.mark.parametrize("has_hardware", [True, False])
def test_a_cpu_computes_in_bfloat16_where_it_has_hardware_or_is_asked_to(
    monkeypatch: pytest.MonkeyPatch, has_hardware: bool
) -> None:
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: has_hardware)
    monkeypatch.setattr("torch.cpu._is_amx_tile_supported", lambda: False)
    assert half_type("auto", CPU) == (torch.bfloat16 if has_hardware else None)
    assert half_type("on", CPU) == torch.bfloat16
    assert half_type("off", CPU) is None


@pytest.mark.parametrize("has_hardware", [True, False])
def test_a_gpu_without_bfloat16_computes_in_float16(
    monkeypatch: pytest.MonkeyPatch, has_hardware: bool
) -> None:
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation: has_hardware)
    wanted = torch.bfloat16 if has_hardware else torch.float16
    for setting in ("auto", "on"):
        assert half_type(setting, torch.device("cuda")) == wanted
    assert half_type("off", torch.device("cuda")) is None


def test_only_float16_is_scaled() -> None:
    loss = torch.tensor(2.0)
    for half in (None, torch.bfloat16):
        scaler = LossScaler(half, CPU)
        assert scaler.scale(loss) == loss
        assert scaler.memory == (0.0, 0)
    assert LossScaler(torch.float16, CPU).scale(loss) == 2 * 2**16


def test_a_step_that_overflows_is_left_out_and_the_scale_halved() -> None:
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], 0.5)
    scaler = LossScaler(torch.float16, CPU)
    for gradient, after in ((torch.inf, 1.0), (1.0, 0.5)):
        optimizer.zero_grad()
        scaler.scale(weight * gradient).backward()
        assert scaler.make_step(optimizer, clip_norm=10)
        assert weight.item() == after
    assert scaler.memory == (2.0**15, 1)
    other = LossScaler(torch.float16, CPU)
    other.recall(scaler.memory)
    assert other.memory == scaler.memory


def test_gradients_that_overflow_at_every_scale_are_given_up() -> None:
    weight = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([weight], 0.5)
    scaler = LossScaler(torch.float16, CPU)
    for steps_left in range(16, -1, -1):
        scaler.scale(torch.ones(1))
        weight.grad = torch.full((1,), torch.nan)
        assert scaler.make_step(optimizer, clip_norm=10) == (steps_left > 0)
    assert weight.item() == 1


def test_gradients_that_are_not_finite_change_nothing() -> None:
    weight = torch.nn.Parameter(torch.ones(1))
    weight.grad = torch.full((1,), torch.inf)
    optimizer = torch.optim.SGD([weight], 0.5)
    assert not LossScaler(torch.bfloat16, CPU).make_step(optimizer, clip_norm=10)
    assert weight.item() == 1
