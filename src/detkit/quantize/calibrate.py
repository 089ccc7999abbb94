"""Ranges from images: the training split, preprocessed as for evaluation, run in float once."""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from detkit.artifact.artifact import sha256_of
from detkit.core.boxes import Array
from detkit.core.errors import ArtifactError, DataError
from detkit.core.serialization import digest_of
from detkit.data.coco.split_reader import ImageRecord
from detkit.data.eval_loader import eval_batches
from detkit.nn.quantization.quantized import QuantizedDetector, rounding_off
from detkit.quantize.histogram import Histogram, choose_bounds
from detkit.spec.preprocess import Preprocess

MAX_SAMPLE = 1 << 16  # values of a tensor and image that are counted; bounds see all of them
Hook = Callable[[nn.Module, tuple[Tensor, ...]], None]
INPUT = "quantizer"  # the path of the input's: images are bytes, so its range is known


def subsample_evenly(
    records: Sequence[ImageRecord], count: int, *, seed: int = 0
) -> tuple[ImageRecord, ...]:
    """Takes at most `count` records, evenly spread over all.

    Args:
        seed: other than 0: one is drawn of each of `count` equal stretches, in their order.

    Raises:
        DataError: there are none.
    """
    if not records:
        raise DataError("no images to calibrate on: the training split is empty")
    count = min(count, len(records))
    if seed and count < len(records):
        edges = np.linspace(0, len(records), count + 1).astype(int)
        indices = np.random.default_rng(seed).integers(edges[:-1], edges[1:])
    else:
        indices = np.linspace(0, len(records) - 1, count).round().astype(int)
    return tuple(records[index] for index in indices)


def images_digest(records: Sequence[ImageRecord]) -> str:
    """A digest of the names and bytes of the images, in order."""
    return digest_of([(record.file_name, sha256_of(record.path)) for record in records])


def load_images(
    records: Sequence[ImageRecord], preprocess: Preprocess, batch_size: int
) -> Iterator[Array]:
    """Yields the images as batches (B, 3, H, W) float32 RGB 0..1."""
    return (batch.images for batch in eval_batches(records, preprocess, batch_size))


@dataclass
class CalibrationStats:
    """The statistics of calibration: values at quantizers, mean inputs (C_in,) of convolutions."""

    histograms: dict[str, Histogram] = field(default_factory=dict)
    input_means: dict[str, Tensor] = field(default_factory=dict)


@torch.no_grad()
def collect_stats(model: QuantizedDetector, batches: Iterable[Array]) -> CalibrationStats:
    """Runs the network in float and counts its values."""
    found = CalibrationStats()
    number = 0
    with _watching(model, found):
        for images in batches:
            model(torch.from_numpy(images))
            number += len(images)
    found.input_means = {path: total / number for path, total in found.input_means.items()}
    return found


def set_ranges(
    model: QuantizedDetector, found: CalibrationStats, calibrator: str
) -> dict[str, int]:
    """Sets every range of `model`; returns how many are from which method."""
    methods: Counter[str] = Counter()
    for path, quantizer in model.quantizers():
        if path == INPUT:
            quantizer.set_range(0.0, 1.0)
            continue
        (low, high), method = choose_bounds(found.histograms[path], calibrator)
        quantizer.set_range(low, high)
        methods[method] += 1
    return dict(methods)


def collapsed(found: CalibrationStats) -> list[str]:
    """Paths of the quantizers that saw nothing but zeros: no range can be taken from those.

    Raises:
        ArtifactError: that is at least half of them, or values are NaN or infinite.
    """
    bounds = {path: (seen.low, seen.high) for path, seen in found.histograms.items()}
    endless = [path for path, pair in bounds.items() if not np.isfinite(pair).all()]
    if endless:
        raise ArtifactError(
            f"the network gives NaN or Inf at {len(endless)} of {len(bounds)} tensors"
            f" ({endless[0]}, ...)",
            hint="detkit eval scores the float checkpoint",
        )
    zeros = [path for path, pair in bounds.items() if pair == (0.0, 0.0)]
    if zeros and 2 * len(zeros) >= len(bounds):
        raise ArtifactError(
            f"{len(zeros)} of {len(bounds)} tensors are zero on all calibration images"
            f" ({zeros[0]}, ...): the network sees nothing in them",
            hint="detkit eval scores the float checkpoint",
        )
    return zeros


def correct_biases(model: QuantizedDetector, found: CalibrationStats) -> None:
    """Takes the mean error of rounded weights out of every convolution."""
    for path, conv in model.convolutions():
        conv.correct_bias(found.input_means[path])


@contextlib.contextmanager
def _watching(model: QuantizedDetector, found: CalibrationStats) -> Iterator[None]:
    """Runs the network in float within the block and fills `found` as it runs."""
    hooks = [
        quantizer.register_forward_pre_hook(_counter(found.histograms, path))
        for path, quantizer in model.quantizers()
        if path != INPUT
    ]
    hooks += [
        conv.register_forward_pre_hook(_averager(found.input_means, path))
        for path, conv in model.convolutions()
    ]
    try:
        with rounding_off(model):
            yield
    finally:
        for hook in hooks:
            hook.remove()


def _counter(histograms: dict[str, Histogram], path: str) -> Hook:
    histogram = histograms.setdefault(path, Histogram())

    def count(_: nn.Module, args: tuple[Tensor, ...]) -> None:
        low, high = (float(bound) for bound in args[0].aminmax())
        values = args[0].permute(0, 2, 3, 1).flatten()
        step = sampling_step(values.numel() // len(args[0]), channels=args[0].shape[1])
        histogram.add(low, high, values[::step].numpy())

    return count


def sampling_step(count: int, *, channels: int) -> int:
    """How many of an image's `count` values, channels innermost, lie from a sample to the next.

    It has no factor in common with `channels`: every 10th value of 16 channels would be of the even
    ones alone.

    >>> sampling_step(16 * 208 * 208, channels=16), sampling_step(100, channels=4)
    (11, 1)
    """
    step = max(1, count // MAX_SAMPLE)
    while math.gcd(step, channels) > 1:
        step += 1
    return step


def _averager(means: dict[str, Tensor], path: str) -> Hook:
    def add(_: nn.Module, args: tuple[Tensor, ...]) -> None:
        means[path] = means.get(path, torch.zeros(())) + args[0].mean(dim=(2, 3)).sum(dim=0)

    return add
