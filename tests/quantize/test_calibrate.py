"""Ranges from images."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from detkit.core.errors import ArtifactError, DataError
from detkit.data.coco.folder import open_folder
from detkit.data.coco.split_reader import ImageRecord
from detkit.data.draw import save_image
from detkit.nn.checkpoint import load_checkpoint
from detkit.nn.quantization.quantized import rounding_off
from detkit.quantize.calibrate import (
    INPUT,
    MAX_SAMPLE,
    CalibrationStats,
    _watching,
    collapsed,
    collect_stats,
    correct_biases,
    images_digest,
    load_images,
    sampling_step,
    set_ranges,
    subsample_evenly,
)
from detkit.quantize.histogram import Histogram


@pytest.fixture
def records(labelled: Path) -> Sequence[ImageRecord]:
    return open_folder(labelled, splits=("train",)).splits["train"].records


@pytest.fixture
def batches(int8: Callable[..., Path], records: Sequence[ImageRecord]) -> list[Any]:
    return list(load_images(records, load_checkpoint(int8())[1].preprocess, 3))


@pytest.fixture
def image(
    make_record: Callable[..., ImageRecord], tmp_path: Path
) -> Callable[[str, int], ImageRecord]:
    """`image(name, level)`: a record of a gray image."""

    def make(name: str, level: int) -> ImageRecord:
        path = tmp_path / name
        save_image(path, np.full((4, 4, 3), level, np.uint8))
        return dataclasses.replace(make_record([], []), path=path, file_name=name)

    return make


# --- which images ------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
def test_images_are_spread_over_all(records: Sequence[ImageRecord], count: int) -> None:
    chosen = subsample_evenly(records, count)
    places = [records.index(record) for record in chosen]
    assert len(places) == len(set(places)) == count
    assert places == sorted(places)
    if count > 1:
        assert (places[0], places[-1]) == (0, len(records) - 1)
        assert np.ptp(np.diff(places)) <= 1


def test_other_seeds_draw_one_of_each_stretch(records: Sequence[ImageRecord]) -> None:
    eight = records[:8]
    drawn = [subsample_evenly(eight, 4, seed=seed) for seed in range(1, 9)]
    places = [[eight.index(record) for record in chosen] for chosen in drawn]
    assert any(other != places[0] for other in places)
    assert all([place // 2 for place in chosen] == [0, 1, 2, 3] for chosen in places)
    assert subsample_evenly(eight, 4, seed=1) == drawn[0]
    assert subsample_evenly(eight, 8, seed=3) == tuple(eight)


def test_more_than_there_are_is_all_of_them(records: Sequence[ImageRecord]) -> None:
    assert subsample_evenly(records, 1000) == tuple(records)


def test_no_images_is_an_error() -> None:
    with pytest.raises(DataError, match="no images to calibrate on"):
        subsample_evenly((), 8)


def test_digest_is_of_bytes_names_and_order(image: Callable[[str, int], ImageRecord]) -> None:
    a, b = image("a.png", 10), image("b.png", 20)
    digest = images_digest([a, b])
    assert images_digest([a, b]) == digest
    assert images_digest([b, a]) != digest
    assert images_digest([a]) != digest
    image("b.png", 21)
    changed = images_digest([a, b])
    assert changed != digest
    image("b.png", 20)
    assert images_digest([a, b]) == digest


# --- ranges --------------------------------------------------------------------------------------


def test_the_range_of_the_input_is_known(int8_model: Any, batches: list[Any]) -> None:
    found = collect_stats(int8_model, [batch * 0.5 for batch in batches])
    set_ranges(int8_model, found, "max")
    assert float(int8_model.quantizer.scale.detach()) == pytest.approx(1 / 255)
    assert int(int8_model.quantizer.zero_point) == 0
    assert INPUT not in found.histograms


def test_ranges_cover_what_was_seen(int8_model: Any, batches: list[Any]) -> None:
    found = collect_stats(int8_model, batches)
    assert set_ranges(int8_model, found, "max") == {"max": 64}
    for path, quantizer in int8_model.quantizers():
        if path == INPUT:
            continue
        histogram = found.histograms[path]
        scale = float(quantizer.scale.detach())
        low = -int(quantizer.zero_point) * scale
        assert low <= min(histogram.low, 0) + scale
        assert low + 255 * scale >= histogram.high - scale


def test_every_quantizer_and_convolution_is_observed(int8_model: Any, batches: list[Any]) -> None:
    found = collect_stats(int8_model, batches)
    assert found.histograms.keys() == {path for path, _ in int8_model.quantizers()} - {INPUT}
    assert found.input_means.keys() == {path for path, _ in int8_model.convolutions()}
    for path, conv in int8_model.convolutions():
        assert found.input_means[path].shape == (conv.conv.in_channels,)
    counted = {histogram.counts.sum() for histogram in found.histograms.values()}
    assert min(counted) > 0


@pytest.mark.parametrize("channels", [16, 48, 60, 64])
@pytest.mark.parametrize("side", [208, 160, 104, 52])
def test_samples_are_of_all_channels_alike(channels: int, side: int) -> None:
    count = channels * side * side
    step = sampling_step(count, channels=channels)
    sampled = np.bincount(np.arange(0, count, step) % channels, minlength=channels)
    assert np.ptp(sampled) <= 1
    assert MAX_SAMPLE / 4 < sampled.sum() <= 2 * MAX_SAMPLE or step == 1


def test_a_channel_that_is_larger_than_all_others_is_counted(int8_model: Any) -> None:
    """Of 16 channels at 208x208 every 10th value would miss the odd ones."""
    quantizer = int8_model.backbone.stem.conv.quantizer
    found = CalibrationStats()
    x = torch.zeros(1, 16, 208, 208)
    x[:, 1] = 5.0
    with _watching(int8_model, found):
        quantizer(x)
    (path,) = [path for path, module in int8_model.quantizers() if module is quantizer]
    histogram = found.histograms[path]
    share = histogram.counts[histogram.centres > 4].sum() / histogram.counts.sum()
    assert share == pytest.approx(1 / 16, rel=0.01)


def test_a_tensor_behind_a_relu_has_no_negative_side(int8_model: Any, batches: list[Any]) -> None:
    set_ranges(int8_model, collect_stats(int8_model, batches), "auto")
    assert int(int8_model.backbone.stem.conv.quantizer.zero_point) == 0


def test_what_is_observed_is_the_float_network(int8_model: Any, batches: list[Any]) -> None:
    found = collect_stats(int8_model, batches)
    for path, quantizer in int8_model.quantizers():
        if path != INPUT:
            quantizer.set_range(0.0, 1e-3)  # would silence all that follows
    again = collect_stats(int8_model, batches)
    for path, histogram in found.histograms.items():
        assert again.histograms[path].high == histogram.high
        assert np.array_equal(again.histograms[path].counts, histogram.counts)


def test_observing_leaves_no_trace(int8_model: Any, batches: list[Any]) -> None:
    images = torch.from_numpy(batches[0])
    with torch.no_grad():
        before = int8_model(images)
        collect_stats(int8_model, batches)
        after = int8_model(images)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    hooks = [len(module._forward_pre_hooks) for module in int8_model.modules()]
    assert sum(hooks) == 0


def test_mean_inputs_do_not_depend_on_batches(
    int8: Callable[..., Path], int8_model: Any, records: Sequence[ImageRecord]
) -> None:
    preprocess = load_checkpoint(int8())[1].preprocess
    one = collect_stats(int8_model, load_images(records, preprocess, 8)).input_means
    other = collect_stats(int8_model, load_images(records, preprocess, 3)).input_means
    for path in one:
        assert torch.allclose(one[path], other[path], atol=1e-5), path


def test_correcting_biases_brings_mean_outputs_nearer_to_float(
    int8_model: Any, batches: list[Any]
) -> None:
    found = collect_stats(int8_model, batches)

    def mean_error() -> float:
        images = torch.from_numpy(np.concatenate(batches))
        with torch.no_grad():
            for _, quantizer in int8_model.quantizers():
                quantizer.passes_through = True  # the error of weights alone
            rounded = int8_model(images)[0].mean(dim=(0, 1))
            with rounding_off(int8_model):
                exact = int8_model(images)[0].mean(dim=(0, 1))
        return float((rounded - exact).abs().sum())

    for _, conv in int8_model.convolutions():
        conv.bias_shift.zero_()
    before = mean_error()
    correct_biases(int8_model, found)
    assert mean_error() < before


# --- what no range can be taken from -------------------------------------------------------------


def seen(**values: float) -> CalibrationStats:
    """Statistics of tensors that hold one value and zeros."""
    found = CalibrationStats()
    for path, value in values.items():
        found.histograms[path] = histogram = Histogram()
        sample = np.array([0, value], np.float32)
        histogram.add(float(sample.min()), float(sample.max()), sample)
    return found


def test_tensors_of_zeros_are_named(int8_model: Any, batches: list[Any]) -> None:
    assert collapsed(collect_stats(int8_model, batches)) == []
    assert collapsed(seen(a=1, b=0, c=-2)) == ["b"]


def test_a_network_that_gives_zeros_is_refused(int8_model: Any, batches: list[Any]) -> None:
    with pytest.raises(ArtifactError, match=r"2 of 4 tensors are zero .* \(b, "):
        collapsed(seen(a=1, b=0, c=-2, d=0))
    for parameter in int8_model.parameters():
        parameter.data.zero_()
    with pytest.raises(ArtifactError, match="tensors are zero on all calibration images"):
        collapsed(collect_stats(int8_model, batches))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_network_that_gives_no_numbers_is_refused(
    int8_model: Any, batches: list[Any], value: float
) -> None:
    next(int8_model.parameters()).data.fill_(value)
    with pytest.raises(ArtifactError, match="gives NaN or Inf at"):
        collapsed(collect_stats(int8_model, batches))
    found = seen(a=value)
    found.histograms["a"].add(0.0, 1.0, np.array([0, 1], np.float32))
    with pytest.raises(ArtifactError, match="gives NaN or Inf at 1 of 1 tensors"):
        collapsed(found)
