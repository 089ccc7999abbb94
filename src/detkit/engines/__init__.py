"""The inference engines: a record each, and what opens, exports and checks models with them.

`ENGINES` is the only table. A new engine is one file (or folder) here with its `Engine`, its
session and its exporter, and one line below; flags, help, completions, fingerprints, advice and
error texts follow from it. No other part of detkit holds an engine's name.
"""

from __future__ import annotations

from detkit.core.errors import UsageError, did_you_mean
from detkit.engines import onnxruntime, openvino, tensorrt, torch
from detkit.engines.engine import Engine

ENGINES: dict[str, Engine] = {
    record.name: record
    for record in (
        torch.ENGINE,
        onnxruntime.ENGINE,
        openvino.ENGINE,
        tensorrt.ENGINE,
        tensorrt.ENGINE_RTX,
    )
}
AUTO = "auto"  # in a setting: the first engine that reads ONNX files
TRAINING = torch.ENGINE  # what networks are trained with


def default_engine() -> Engine:
    """The first engine of the table that reads ONNX files."""
    return next(engine for engine in ENGINES.values() if "onnx" in engine.reads)


def find_engine(name: str) -> Engine:
    """The engine of this name; `AUTO` is the default one.

    Raises:
        UsageError: there is none.
    """
    if name == AUTO:
        return default_engine()
    if name not in ENGINES:
        raise UsageError(f"unknown engine '{name}'", hint=did_you_mean(name, ENGINES))
    return ENGINES[name]


def engines_of(kind: str) -> tuple[Engine, ...]:
    """The engines that run an artifact of this kind, the one it was made for first."""
    able = [engine for engine in ENGINES.values() if kind in engine.reads]
    return tuple(sorted(able, key=lambda engine: engine.reads[0] != kind))


def engine_packages() -> tuple[str, ...]:
    """The pip packages of all engines, whose versions say which engines are here."""
    return tuple(name for engine in ENGINES.values() for name in engine.packages)


def int8_engines() -> tuple[str, ...]:
    """Names that `--target` takes: each has a Q/DQ form of its own."""
    return tuple(engine.name for engine in ENGINES.values() if engine.qdq_form)


def measuring_engines() -> tuple[str, ...]:
    """Names of the engines that run INT8 graphs on this machine and tell their precision."""
    return tuple(engine.name for engine in ENGINES.values() if engine.int8_coverage)


def exporters() -> dict[str, Engine]:
    """Maps each word that `--to` takes to the engine whose file it is."""
    return {engine.exported_as: engine for engine in ENGINES.values() if engine.exported_as}
