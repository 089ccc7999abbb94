"""The figures of each variant: its AP with the noise of the images, its time beside the others'."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from statistics import median

from detkit.advise.recommend import fastest_float
from detkit.core.boxes import Detections
from detkit.data.coco.split_reader import ImageRecord
from detkit.evaluation.evaluate import coco_figures
from detkit.report import Variant
from detkit.timing.measure import Timing, block_ratios

FOLDS = 10
TAIL = 2  # blocks left out at either end: the median of 10 lies within the rest in 89 % of cases


def ap_by_folds(
    records: Sequence[ImageRecord], names: Sequence[str], found: Sequence[Detections]
) -> tuple[float, ...]:
    """Scores all images, then leaves out each of `FOLDS` parts of them in turn: AP 0..1 each.

    A part that has all boxes is not left out, as AP would be undefined.
    """
    folds = min(FOLDS, len(records))
    everything = range(len(records))
    kept = [[i for i in everything if i % folds != fold] for fold in range(folds)]
    aps = (
        coco_figures([records[i] for i in part], names, [found[i] for i in part]).ap
        for part in (list(everything), *kept)
        if part
    )
    return tuple(ap for ap in aps if ap is not None)


def drop_of(float_aps: Sequence[float], aps: Sequence[float]) -> tuple[float, float | None]:
    """Points of AP lost, and their standard error by the jackknife (Efron, 1982).

    The error is None where there are not two parts to leave out. Both lists are of `ap_by_folds`;
    the images are the same, so most of their noise cancels.
    """
    drop, *parts = (100 * (before - after) for before, after in zip(float_aps, aps, strict=True))
    if len(parts) < 2:
        return drop, None
    mean = sum(parts) / len(parts)
    spread = sum((part - mean) ** 2 for part in parts)
    return drop, math.sqrt((len(parts) - 1) / len(parts) * spread)


def ratios(timing: Timing, reference: Timing) -> tuple[float, float, float]:
    """Compares block by block with `reference`: median, low and high of the ratios of medians."""
    found = sorted(block_ratios(timing, reference))
    tail = min(TAIL, (len(found) - 1) // 2)
    return median(found), found[tail], found[-1 - tail]


def make_variants(
    names: Sequence[tuple[str, str]],
    timings: Sequence[Timing],
    aps: Sequence[Sequence[float]],
    sizes: Sequence[int],
) -> tuple[Variant, ...]:
    """Makes a variant for each (engine, precision); the first is the checkpoint itself in float."""
    variants = []
    for (engine, precision), timing, scores, size in zip(names, timings, aps, sizes, strict=True):
        drop, noise = drop_of(aps[0], scores)
        variants.append(
            Variant(
                runtime=engine,
                precision=precision,
                ap=scores[0],
                drop=drop,
                drop_noise=noise,
                latency_ms=timing.p50_ms,
                ratio=1.0,
                ratio_low=1.0,
                ratio_high=1.0,
                bytes=size,
            )
        )
    return _with_ratios(variants, timings)


def _with_ratios(variants: Sequence[Variant], timings: Sequence[Timing]) -> tuple[Variant, ...]:
    reference = timings[fastest_float(variants)]
    found = []
    for variant, timing in zip(variants, timings, strict=True):
        ratio, low, high = ratios(timing, reference)
        found.append(dataclasses.replace(variant, ratio=ratio, ratio_low=low, ratio_high=high))
    return tuple(found)
