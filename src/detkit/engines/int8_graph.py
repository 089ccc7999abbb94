"""INT8 graphs in the form that an engine fuses, by its record."""

from __future__ import annotations

from onnx import ModelProto

from detkit.core.errors import UsageError, did_you_mean
from detkit.engines import ENGINES, int8_targets
from detkit.export.qdq import in_form


def check_target(target: str) -> None:
    """Raises UsageError for an engine that has no INT8 form of its own."""
    if target not in int8_targets():
        raise UsageError(f"unknown target '{target}'", hint=did_you_mean(target, int8_targets()))


def for_target(traced: ModelProto, target: str) -> ModelProto:
    """A copy of a traced fake-quantized graph in the form that `target` runs in INT8.

    Raises:
        UsageError: an unknown target.
    """
    check_target(target)
    record = ENGINES[target]
    return in_form(traced, record.load(record.qdq_form))
