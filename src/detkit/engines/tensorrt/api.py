"""Every call to TensorRT that detkit makes, for 10.3 to 11 and TensorRT-RTX alike.

Functions take the module (`tensorrt` or `tensorrt_rtx`) as `trt`. Precision is in the graph's
types, so no flag here asks for one; tensors are called by name. A test holds each attribute used
against the names of TensorRT 10.3, 10.16 and 11.4.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from detkit.core.errors import ArtifactError

Shape = tuple[int, ...]
Shapes = tuple[Shape, Shape, Shape]  # least, tuned for, most


def make_log(trt: Any) -> Any:
    """A logger that prints nothing and keeps `errors`. It must outlive what is made with it."""

    class Log(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                self.errors.append(message.strip().partition("\n")[0])

    return Log()


# --- building ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Built:
    """A built engine. `timing_cache` speeds up the next build on the same GPU; may be empty."""

    engine: bytes
    timing_cache: bytes
    layers: int


def run_builder(
    trt: Any,
    onnx_bytes: bytes,
    *,
    profile: Mapping[str, Shapes],
    flags: Mapping[str, bool],
    level: int,
    timing_cache: bytes | None = None,
) -> Built:
    """Builds a strongly typed network.

    Args:
        profile: the shapes of each input that has free dimensions.
        flags: names of `BuilderFlag`, set or cleared.
        level: how long to search, 0 to 5.
        timing_cache: of an earlier build, or empty; None where the library keeps no times.

    Raises:
        ArtifactError: TensorRT refuses the graph, or finds no way to run it.
    """
    log = make_log(trt)
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(onnx_bytes):
        faults = [_fault(parser.get_error(index)) for index in range(parser.num_errors)]
        raise ArtifactError(f"TensorRT cannot read the graph: {'; '.join(faults[:3])}")
    config = builder.create_builder_config()
    config.builder_optimization_level = level
    for name, is_set in flags.items():
        flag = getattr(trt.BuilderFlag, name)
        (config.set_flag if is_set else config.clear_flag)(flag)
    if profile:
        shapes = builder.create_optimization_profile()
        for name, (least, best, most) in profile.items():
            shapes.set_shape(name, least, best, most)
        config.add_optimization_profile(shapes)
    cache = None if timing_cache is None else _set_timing_cache(config, timing_cache)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise ArtifactError(f"TensorRT cannot build the engine: {'; '.join(log.errors[-3:])}")
    times = bytes(cache.serialize()) if cache is not None else b""
    return Built(bytes(engine), times, network.num_layers)


def _set_timing_cache(config: Any, data: bytes) -> Any:
    """Sets the timing cache of the build, empty where `data` is of another GPU or version."""
    for content in (data, b""):
        cache = config.create_timing_cache(content)
        if config.set_timing_cache(cache, False):
            break
    return cache


def _fault(error: Any) -> str:
    text: str = error.desc()
    node = f"{error.node_operator()} '{error.node_name()}': " if error.node_operator() else ""
    return node + text.strip().partition("\n")[0]


# --- running -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class EngineTensor:
    """An input or output; `shape` has -1 where it is free, `most` is the largest of the profile."""

    name: str
    is_input: bool
    dtype: npt.DTypeLike
    shape: Shape
    most: Shape


class LoadedEngine:
    """An engine in memory with one execution context; the caller owns all device memory."""

    def __init__(self, trt: Any, data: bytes) -> None:
        """Raises ArtifactError where TensorRT refuses the engine."""
        self.log = make_log(trt)
        self._runtime = trt.Runtime(self.log)
        self._engine = self._runtime.deserialize_cuda_engine(data)
        if self._engine is None:
            raise ArtifactError(f"TensorRT refuses the engine: {'; '.join(self.log.errors[-3:])}")
        self.context = self._engine.create_execution_context()
        if self.context is None:
            raise ArtifactError(f"the engine does not start: {'; '.join(self.log.errors[-3:])}")
        self.tensors = tuple(self._tensor(trt, i) for i in range(self._engine.num_io_tensors))

    def _tensor(self, trt: Any, index: int) -> EngineTensor:
        engine = self._engine
        name = engine.get_tensor_name(index)
        is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
        shape = tuple(engine.get_tensor_shape(name))
        most = tuple(engine.get_tensor_profile_shape(name, 0)[2]) if is_input else shape
        kind = engine.get_tensor_dtype(name)
        if kind == trt.DataType.UINT8:
            return EngineTensor(name, is_input, np.uint8, shape, most)
        if kind == trt.DataType.FLOAT:
            return EngineTensor(name, is_input, np.float32, shape, most)
        raise ArtifactError(f"tensor '{name}' of the engine has a type detkit never uses: {kind}")
