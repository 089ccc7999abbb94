"""Noise of each group, without labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from detkit.data.synthetic.synth import draw_images
from detkit.nn.quantization.quantized import rounding_off
from detkit.quantize.calibrate import collect_stats, set_ranges
from detkit.quantize.mixed_precision import too_noisy
from detkit.quantize.sensitivity import set_quietest_ranges, signal_to_noise, sqnr_by_group


@pytest.fixture
def batches() -> list[np.ndarray]:
    pixels = np.stack(draw_images(4, size=64)).transpose(0, 3, 1, 2)
    return list(np.split((pixels / 255).astype(np.float32), 2))


def test_every_group_is_measured_and_the_worst_comes_first(
    int8_model: Any, batches: list[np.ndarray]
) -> None:
    noise = sqnr_by_group(int8_model, batches)
    assert noise.keys() == int8_model.plan.groups.keys()
    assert list(noise.values()) == sorted(noise.values())
    assert all(10 < value < 120 for value in noise.values())


def test_a_group_made_noisy_by_hand_comes_first(int8_model: Any, batches: list[np.ndarray]) -> None:
    before = sqnr_by_group(int8_model, batches)
    quiet = list(before)[-1]
    for path in int8_model.plan.groups[quiet]:
        int8_model.get_submodule(path).bits = 3
    after = sqnr_by_group(int8_model, batches)
    assert next(iter(after)) == quiet
    assert after[quiet] < before[quiet] - 6
    others = [name for name in before if name != quiet]
    assert [after[name] for name in others] == pytest.approx([before[name] for name in others])


def test_a_tensor_of_unequal_channels_makes_both_groups_around_it_too_noisy(
    int8_model: Any, batches: list[np.ndarray]
) -> None:
    """One range cannot hold them: in YOLOX-Nano those of the stem differ by a factor of 2000."""
    stem = int8_model.backbone.stem.conv.conv
    (path,) = int8_model.plan.groups["backbone.stage1"]
    with torch.no_grad():  # the same function, for a ReLU is in between
        stem.weight[0] *= 1e4
        stem.bias[0] *= 1e4
        int8_model.get_submodule(path).conv.weight[:, 0] /= 1e4
    set_ranges(int8_model, collect_stats(int8_model, batches), "max")
    noise = sqnr_by_group(int8_model, batches)
    assert set(too_noisy(noise, 10.0)) == {"backbone.stem", "backbone.stage1"}
    int8_model.keep_in_float(["backbone.stem"])
    images = torch.from_numpy(batches[0])
    with torch.no_grad():
        half = int8_model(images)[0]
        int8_model.keep_in_float(too_noisy(noise, 10.0))
        both = int8_model(images)[0]
        with rounding_off(int8_model):
            exact = int8_model(images)[0]
    assert (both - exact).square().mean() < 0.1 * (half - exact).square().mean()


def test_ranges_that_leave_less_noise_are_taken_and_the_best_stay(
    int8_model: Any, batches: list[np.ndarray]
) -> None:
    stats = collect_stats(int8_model, batches)
    for _, quantizer in int8_model.quantizers():
        quantizer.set_range(0.0, 1e-3)  # silences all that follows
    found = set_quietest_ranges(int8_model, stats, batches)
    assert found in ({"percentile": 64}, {"max": 64})
    after = {name: value.clone() for name, value in int8_model.state_dict().items()}
    set_ranges(int8_model, stats, next(iter(found)))
    assert all(torch.equal(after[name], value) for name, value in int8_model.state_dict().items())
    assert set_quietest_ranges(int8_model, stats, batches) is None
    assert all(torch.equal(after[name], value) for name, value in int8_model.state_dict().items())


def test_groups_in_float_are_those_of_before(int8_model: Any, batches: list[np.ndarray]) -> None:
    int8_model.keep_in_float(["backbone.stem"])
    images = torch.from_numpy(batches[0])
    with torch.no_grad():
        before = int8_model(images)
        sqnr_by_group(int8_model, batches)
        after = int8_model(images)
    assert int8_model.quant.float_groups == ("backbone.stem",)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_groups_in_float_are_restored_after_an_error(
    int8_model: Any, batches: list[np.ndarray]
) -> None:
    int8_model.keep_in_float(["backbone.stem"])
    with pytest.raises(RuntimeError):
        sqnr_by_group(int8_model, [batches[0][:, :1]])
    assert int8_model.quant.float_groups == ("backbone.stem",)
    assert not any(quantizer.passes_through for _, quantizer in int8_model.quantizers())


def test_decibels_of_known_noise() -> None:
    scores = torch.full((1, 5, 2), 0.5)
    distances = torch.full((1, 5, 4), 2.0)
    tenth = [(scores * 1.1, distances)]
    assert signal_to_noise([(scores, distances)], tenth) == pytest.approx(20, abs=1e-3)
    both = [(scores * 1.1, distances * 0.9)]
    assert signal_to_noise([(scores, distances)], both) == pytest.approx(17, abs=0.02)
    assert signal_to_noise([(scores, distances)], [(scores, distances)]) == pytest.approx(120)


def test_boxes_that_nobody_sees_do_not_count() -> None:
    scores = torch.zeros(1, 2, 1)
    scores[0, 0] = 1.0
    distances = torch.ones(1, 2, 4)
    moved = distances.clone()
    moved[0, 1] += 5
    assert signal_to_noise([(scores, distances)], [(scores, moved)]) == pytest.approx(120)
    moved[0, 0] += 5
    assert signal_to_noise([(scores, distances)], [(scores, moved)]) < 0
