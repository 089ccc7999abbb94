"""Fake-quantized layers against the arithmetic they stand for."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from detkit.nn.blocks import FusedConv
from detkit.nn.quantization.fake_quant import (
    LEVELS,
    QuantConv,
    Quantizer,
    ShuffledConv,
    quantize_weight,
    weight_scale,
)

RANGES = [
    (0.0, 6.0),
    (-1.0, 3.0),
    (-3.0, 0.5),
    (-2.0, 0.0),
    (0.7, 2.0),
    (-5.0, -1.0),
    (-1e-3, 40.0),
]


def quantizer(low: float, high: float, *, learned: bool = False) -> Quantizer:
    made = Quantizer(learned=learned)
    made.set_range(low, high)
    return made


def fused(
    c_in: int = 4, c_out: int = 6, kernel: int = 3, act: nn.Module | None = None
) -> FusedConv:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(c_out, c_in, kernel, kernel, generator=generator)
    weight *= torch.logspace(-2, 1, c_out)[:, None, None, None]
    return FusedConv(
        weight, torch.randn(c_out, generator=generator), stride=1, act=act or nn.ReLU()
    )


# --- activations ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("low", "high"), RANGES)
def test_zero_is_exact(low: float, high: float) -> None:
    assert quantizer(low, high)(torch.zeros(3)).eq(0).all()


@pytest.mark.parametrize(("low", "high"), RANGES)
def test_inside_the_bounds_the_error_is_half_a_step_at_most(low: float, high: float) -> None:
    rounding = quantizer(low, high)
    lowest = -int(rounding.zero_point) * float(rounding.scale.detach())
    highest = lowest + LEVELS * float(rounding.scale.detach())
    x = torch.linspace(lowest, highest, 10_001)
    error = (rounding(x) - x).abs().max()
    assert error <= 0.5 * float(rounding.scale.detach()) * (1 + 1e-4)
    assert rounding(x).unique().numel() == LEVELS + 1


@pytest.mark.parametrize(("low", "high"), RANGES)
def test_bounds_move_by_less_than_a_step(low: float, high: float) -> None:
    rounding = quantizer(low, high)
    scale = float(rounding.scale.detach())
    lowest = -int(rounding.zero_point) * scale
    assert abs(lowest - min(low, 0)) <= 0.5 * scale * (1 + 1e-4)
    assert 0 <= int(rounding.zero_point) <= LEVELS


def test_values_outside_are_clipped_to_the_bounds() -> None:
    rounding = quantizer(0.0, 2.55)
    assert rounding(torch.tensor([-3.0, 9.0])).tolist() == pytest.approx([0.0, 2.55])


def test_non_negative_tensors_use_all_256_levels() -> None:
    rounding = quantizer(0.0, 5.1)
    assert int(rounding.zero_point) == 0
    assert float(rounding.scale.detach()) == pytest.approx(5.1 / 255)


def test_bytes_are_exact_in_the_range_of_the_input() -> None:
    images = torch.arange(256) / 255
    assert torch.allclose(quantizer(0.0, 1.0)(images), images, atol=1e-6, rtol=0)
    assert quantizer(0.0, 1.0)(images).unique().numel() == 256


def test_a_tensor_that_is_always_zero_stays_zero() -> None:
    assert quantizer(0.0, 0.0)(torch.zeros(5)).eq(0).all()


@pytest.mark.parametrize("learned", [False, True])
def test_gradients_pass_straight_through_inside_the_bounds_only(learned: bool) -> None:
    x = torch.tensor([-2.0, 0.3, 0.9, 5.0], requires_grad=True)
    quantizer(-1.0, 1.0, learned=learned)(x).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == pytest.approx([0.0, 1.0, 1.0, 0.0])


def test_a_learned_scale_grows_towards_values_it_clips() -> None:
    rounding = quantizer(0.0, 1.0, learned=True)
    x = torch.full((100,), 2.0)
    (rounding(x) - x).square().sum().backward()
    assert rounding.log_scale.grad is not None
    assert float(rounding.log_scale.grad) < 0  # a step against it makes the range larger


def test_a_fixed_scale_gets_no_gradient() -> None:
    rounding = quantizer(0.0, 1.0)
    rounding(torch.rand(5, requires_grad=True)).sum().backward()
    assert rounding.log_scale.grad is None


def test_learned_and_fixed_scales_give_the_same_values() -> None:
    x = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    with torch.enable_grad():
        learned = quantizer(-1.5, 2.0, learned=True)(x)
    assert torch.allclose(learned, quantizer(-1.5, 2.0)(x), atol=1e-6)


def test_nothing_is_rounded_while_ranges_are_observed() -> None:
    rounding, x = quantizer(0.0, 1.0), torch.randn(9)
    rounding.passes_through = True
    assert rounding(x) is x


# --- weights -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("bits", "last"), [(8, 127), (7, 63)])
def test_each_channel_reaches_the_last_level_and_never_the_one_below(bits: int, last: int) -> None:
    weight = fused().conv.weight.detach()
    scale = weight_scale(weight, bits)[:, None, None, None]
    codes = quantize_weight(weight, bits) / scale
    assert torch.allclose(codes, codes.round(), atol=1e-3)
    assert codes.round().abs().amax(dim=(1, 2, 3)).tolist() == [last] * len(weight)


def test_weights_are_symmetric() -> None:
    weight = fused().conv.weight.detach()
    assert torch.equal(quantize_weight(-weight, 8), -quantize_weight(weight, 8))


def test_a_channel_does_not_depend_on_another() -> None:
    weight = fused().conv.weight.detach()
    spoiled = weight.clone()
    spoiled[0] *= 1000
    assert torch.equal(quantize_weight(spoiled, 8)[1:], quantize_weight(weight, 8)[1:])


def test_a_channel_of_zeros_stays_zero() -> None:
    assert quantize_weight(torch.zeros(2, 3, 1, 1), 8).eq(0).all()


# --- convolutions --------------------------------------------------------------------------------


def test_in_float_it_is_the_convolution_it_was_made_from() -> None:
    source, x = fused(), torch.randn(2, 4, 7, 5)
    made = QuantConv(source, bits=8)
    made.in_float = True
    assert torch.equal(made(x), source(x))
    assert made.state_dict().keys() - source.state_dict().keys() == {"bias_shift"}


def test_an_int8_convolution_is_one_with_rounded_weights() -> None:
    source, x = fused(), torch.randn(2, 4, 7, 5)
    made = QuantConv(source, bits=8)
    rounded = quantize_weight(source.conv.weight, 8)
    wanted = nn.functional.conv2d(x, rounded, source.conv.bias, padding=1).relu()
    assert torch.equal(made(x), wanted)
    window = nn.functional.conv2d(x.abs(), torch.ones(1, 4, 3, 3), padding=1)
    half_step = weight_scale(source.conv.weight, 8)[:, None, None] / 2
    assert ((made(x) - source(x)).abs() <= half_step * window + 1e-5).all()
    assert not torch.equal(made(x), source(x))


def test_bias_correction_takes_out_the_mean_error() -> None:
    source = fused(kernel=1, act=nn.Identity())
    made = QuantConv(source, bits=7)
    x = torch.rand(8, 4, 9, 9, generator=torch.Generator().manual_seed(1)) + torch.arange(
        4.0
    ).reshape(1, 4, 1, 1)
    before = (made(x) - source(x)).mean(dim=(0, 2, 3)).abs()
    made.correct_bias(x.mean(dim=(0, 2, 3)))
    after = (made(x) - source(x)).mean(dim=(0, 2, 3)).abs()
    assert before.max() > 1e-2
    assert after.max() < 1e-5


@pytest.mark.parametrize(("c_in", "c_out"), [(3, 5), (8, 8), (1, 1)])
def test_shuffled_convolution_equals_the_transposed_one(c_in: int, c_out: int) -> None:
    torch.manual_seed(0)
    source, x = nn.ConvTranspose2d(c_in, c_out, 2, 2), torch.randn(2, c_in, 5, 7)
    assert (ShuffledConv(source)(x) - source(x)).abs().max() <= 1e-6
