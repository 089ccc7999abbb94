"""From measured forms to one line of advice. No measuring here."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from detkit.engines import ENGINES
from detkit.report import Form


@dataclass(frozen=True, kw_only=True)
class Limits:
    """`max_drop` in points of AP; `max_ms` None is no limit."""

    max_drop: float
    max_ms: float | None


@dataclass(frozen=True, kw_only=True)
class Decision:
    """`chosen` is an index in `forms`, which say why the others are not."""

    forms: tuple[Form, ...]
    chosen: int | None
    advice: str


def decide(forms: Sequence[Form], limits: Limits, *, images: int) -> Decision:
    """The fastest form that keeps the limits, and a lower precision only where it is faster."""
    reference = fastest_float(forms)
    judged = tuple(
        dataclasses.replace(form, rejected=_fault(form, forms[reference], limits)) for form in forms
    )
    kept = [index for index, form in enumerate(judged) if not form.rejected]
    if not kept:
        return Decision(forms=judged, chosen=None, advice=_nothing(judged))
    chosen = min(kept, key=lambda index: judged[index].ratio)
    advice = _advice(judged, chosen, judged[reference], images)
    return Decision(forms=judged, chosen=chosen, advice=advice)


def fastest_float(forms: Sequence[Form]) -> int:
    """The index of the fp32 form with the least time."""
    floats = [index for index, form in enumerate(forms) if form.precision == "fp32"]
    return min(floats, key=lambda index: forms[index].latency_ms)


def _fault(form: Form, reference: Form, limits: Limits) -> str:
    """Why this form is not to be shipped; empty where nothing speaks against it."""
    if form.drop > limits.max_drop:
        return (
            f"would lose {form.drop:.1f} +- {form.drop_noise:.1f} points, limit {limits.max_drop:g}"
        )
    if form.precision != "fp32" and form.ratio_high >= 1:
        how = "is slower than" if form.ratio_low > 1 else "is within the noise as slow as"
        return f"{how} {_name(reference)}"
    if limits.max_ms is not None and form.latency_ms > limits.max_ms:
        return f"takes {form.latency_ms:.2f} ms, limit {limits.max_ms:g}"
    return ""


def _advice(forms: Sequence[Form], chosen: int, reference: Form, images: int) -> str:
    form = forms[chosen]
    if form.precision == "fp32":
        lower = [f for f in forms if f.precision != "fp32"]
        why = min(lower, key=lambda f: f.latency_ms, default=None)
        reason = f": {why.precision} on {why.runtime} {why.rejected}" if why else ""
        return f"stay in {_name(form)}{reason}"
    faster = f"{1 / form.ratio:.1f}x faster than {_name(reference)}"
    return f"ship {_name(form)}: {faster}, {_drop(form, images)}{_ties(forms, chosen)}"


def _drop(form: Form, images: int) -> str:
    side = "below" if form.drop >= 0 else "above"
    text = f"{abs(form.drop):.1f} points {side} float"
    if abs(form.drop) <= 2 * form.drop_noise:
        return f"{text}, which is within the noise of {images} images"
    return text


def _ties(forms: Sequence[Form], chosen: int) -> str:
    """The other accepted forms whose times cannot be told from the chosen one's."""
    best = forms[chosen]
    equal = [
        _name(form)
        for index, form in enumerate(forms)
        if index != chosen and not form.rejected and form.ratio_low <= best.ratio_high
    ]
    return f"; {' and '.join(equal)} cannot be told from it in time" if equal else ""


def _nothing(forms: Sequence[Form]) -> str:
    told = "; ".join(f"{_name(form)} {form.rejected}" for form in forms)
    return f"nothing meets the limits: {told}"


def _name(form: Form) -> str:
    return f"{form.precision} on {form.runtime}"


def commands(form: Form, checkpoint: Path, data: Path) -> tuple[str, ...]:
    """What makes the form, to be copied into a shell."""
    engine = ENGINES[form.runtime]
    if engine.runs_checkpoints:
        return (f"detkit reparam {shlex.quote(str(checkpoint))}",)
    source = str(checkpoint)
    lines = []
    if form.precision == "int8":
        target = f" --target {engine.name}" if engine.int8_coverage else ""
        source = str(checkpoint.with_suffix(".int8.safetensors"))
        lines.append(
            f"detkit quantize --int8 {shlex.quote(str(checkpoint))} --data"
            f" {shlex.quote(str(data))}{target} -o {shlex.quote(source)}"
        )
    half = " --half" if engine.build and form.precision != "fp32" else ""
    lines.append(f"detkit export --to {engine.exported_as}{half} {shlex.quote(source)}")
    return tuple(lines)
