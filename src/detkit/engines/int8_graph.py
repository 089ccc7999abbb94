"""INT8 graphs in the form that an engine fuses, by its record."""

from __future__ import annotations

from onnx import ModelProto

from detkit.core.errors import UsageError, did_you_mean
from detkit.engines import ENGINES, int8_engines
from detkit.export.qdq import in_form


def check_int8_engine(engine: str) -> None:
    """Raises UsageError for an engine that has no INT8 form of its own."""
    if engine not in int8_engines():
        raise UsageError(f"unknown target '{engine}'", hint=did_you_mean(engine, int8_engines()))


def for_engine(traced: ModelProto, engine: str) -> ModelProto:
    """A copy of a traced fake-quantized graph in the form that `engine` runs in INT8.

    Raises:
        UsageError: an unknown engine.
    """
    check_int8_engine(engine)
    record = ENGINES[engine]
    return in_form(traced, record.load(record.qdq_form))
