"""Advice in one line, from measured variants; nothing is measured here."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from detkit.engines import ENGINES
from detkit.report import Variant


@dataclass(frozen=True, kw_only=True)
class VariantLimits:
    """What a variant must keep: `max_drop` in points of AP; `max_ms` None is no limit."""

    max_drop: float
    max_ms: float | None


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """The variant to ship: `chosen` is an index in `variants`, which say why others are not."""

    variants: tuple[Variant, ...]
    chosen: int | None
    advice: str


def recommend(variants: Sequence[Variant], limits: VariantLimits, *, images: int) -> Recommendation:
    """Picks the fastest variant within the limits; a lower precision only where it is faster."""
    reference = fastest_float(variants)
    judged = tuple(
        dataclasses.replace(variant, rejected=_rejection(variant, variants[reference], limits))
        for variant in variants
    )
    kept = [index for index, variant in enumerate(judged) if not variant.rejected]
    if not kept:
        return Recommendation(variants=judged, chosen=None, advice=_nothing(judged))
    chosen = min(kept, key=lambda index: judged[index].ratio)
    advice = _advice(judged, chosen, judged[reference], images)
    return Recommendation(variants=judged, chosen=chosen, advice=advice)


def fastest_float(variants: Sequence[Variant]) -> int:
    """The index of the fp32 variant with the least time."""
    floats = [index for index, variant in enumerate(variants) if variant.precision == "fp32"]
    return min(floats, key=lambda index: variants[index].latency_ms)


def _rejection(variant: Variant, reference: Variant, limits: VariantLimits) -> str:
    """Says why this variant is not to be shipped; empty where it may be."""
    if variant.drop > limits.max_drop:
        noise = "" if variant.drop_noise is None else f" +- {variant.drop_noise:.1f}"
        return f"would lose {variant.drop:.1f}{noise} points, limit {limits.max_drop:g}"
    if variant.precision != "fp32" and variant.ratio_high >= 1:
        how = "is slower than" if variant.ratio_low > 1 else "is within the noise as slow as"
        return f"{how} {_name(reference)}"
    if limits.max_ms is not None and variant.latency_ms > limits.max_ms:
        return f"takes {variant.latency_ms:.2f} ms, limit {limits.max_ms:g}"
    return ""


def _advice(variants: Sequence[Variant], chosen: int, reference: Variant, images: int) -> str:
    variant = variants[chosen]
    if variant.precision == "fp32":
        lower = [f for f in variants if f.precision != "fp32"]
        why = min(lower, key=lambda f: f.latency_ms, default=None)
        rejection = f": {why.precision} on {why.runtime} {why.rejected}" if why else ""
        return f"stay in {_name(variant)}{rejection}"
    faster = f"{1 / variant.ratio:.1f}x faster than {_name(reference)}"
    return f"ship {_name(variant)}: {faster}, {_drop(variant, images)}{_ties(variants, chosen)}"


def _drop(variant: Variant, images: int) -> str:
    side = "below" if variant.drop >= 0 else "above"
    text = f"{abs(variant.drop):.1f} points {side} float"
    if variant.drop_noise is None:
        return f"{text}, on too few images to tell"
    if abs(variant.drop) <= 2 * variant.drop_noise:
        return f"{text}, which is within the noise of {images} images"
    return text


def _ties(variants: Sequence[Variant], chosen: int) -> str:
    """Names the other accepted variants whose times equal the chosen one's within the noise."""
    best = variants[chosen]
    equal = [
        _name(variant)
        for index, variant in enumerate(variants)
        if index != chosen and not variant.rejected and variant.ratio_low <= best.ratio_high
    ]
    return f"; {' and '.join(equal)} cannot be told from it in time" if equal else ""


def _nothing(variants: Sequence[Variant]) -> str:
    rejections = "; ".join(f"{_name(variant)} {variant.rejected}" for variant in variants)
    return f"nothing meets the limits: {rejections}"


def _name(variant: Variant) -> str:
    return f"{variant.precision} on {variant.runtime}"


def commands(variant: Variant, checkpoint: Path, data: Path) -> tuple[str, ...]:
    """Gives the commands that make the variant, to be copied into a shell."""
    engine = ENGINES[variant.runtime]
    if engine.runs_checkpoints:
        return (f"detkit reparam {shlex.quote(str(checkpoint))}",)
    source = str(checkpoint)
    lines = []
    if variant.precision == "int8":
        target = f" --target {engine.name}" if engine.int8_coverage else ""
        source = str(checkpoint.with_suffix(".int8.safetensors"))
        lines.append(
            f"detkit quantize --int8 {shlex.quote(str(checkpoint))} --data"
            f" {shlex.quote(str(data))}{target} -o {shlex.quote(source)}"
        )
    half = " --half" if engine.build and variant.precision != "fp32" else ""
    lines.append(f"detkit export --to {engine.exported_as}{half} {shlex.quote(source)}")
    return tuple(lines)
