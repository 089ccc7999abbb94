"""An engine of TensorRT or TensorRT-RTX on an NVIDIA GPU.

An engine of another machine is refused before TensorRT reads it. Buffers are made once, for the
largest batch of the engine; a batch size that comes again is launched as one CUDA graph. Not run
on a GPU yet: see `examples/gpu_check.sh`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from detkit.artifact.artifact import Signature
from detkit.core.boxes import Array
from detkit.core.reading import bytes_of
from detkit.engines.tensorrt.api import EngineTensor, LoadedEngine
from detkit.engines.tensorrt.build_machine import import_library, machine_here
from detkit.engines.tensorrt.device import Device, open_device
from detkit.engines.tensorrt.engine_file import EngineSidecar, check_fits, read_sidecar
from detkit.machine.gpu import gpu_index
from detkit.runtime.graph_session import DeviceTimes, EngineRefusalError, GraphSession
from detkit.runtime.session import Pixels, SessionOptions
from detkit.runtime.session_factory import make_session


class TensorrtRunner:
    """See `runtime.graph_session.GraphRunner` and `TimedRunner`."""

    def __init__(self, sidecar: EngineSidecar, engine: LoadedEngine, device: Device) -> None:
        self.engine = sidecar.machine.library
        self.last_times = DeviceTimes(upload=0.0, compute=0.0, download=0.0)
        self._engine, self._device = engine, device
        (self._input,) = (tensor for tensor in engine.tensors if tensor.is_input)
        self._outputs = {t.name: t for t in engine.tensors if not t.is_input}
        self.output_names = tuple(self._outputs)
        self._least, _, self._most = sidecar.batches
        self._addresses = {t.name: device.allocate(_bytes(t, self._most)) for t in engine.tensors}
        for name, address in self._addresses.items():
            engine.context.set_tensor_address(name, address)
        self._events = [device.event() for _ in range(4)]
        self._shape: tuple[int, ...] = ()
        self._launch: Callable[[], None] = self._execute
        self._is_captured = False

    def run(self, images: Array | Pixels, outputs: Sequence[str]) -> list[Any]:
        feed = np.ascontiguousarray(images, self._input.dtype)
        self._prepare(feed.shape)
        shapes = {n: tuple(self._engine.context.get_tensor_shape(n)) for n in outputs}
        found = {n: np.empty(shapes[n], self._outputs[n].dtype) for n in outputs}
        device, events = self._device, self._events
        device.record(events[0])
        device.upload(self._addresses[self._input.name], feed)
        device.record(events[1])
        self._launch()
        device.record(events[2])
        for name, target in found.items():
            device.download(target, self._addresses[name])
        device.record(events[3])
        device.synchronize()
        upload, compute, download = map(device.elapsed_ms, events[:-1], events[1:])
        self.last_times = DeviceTimes(upload=upload, compute=compute, download=download)
        return list(found.values())

    def _prepare(self, shape: tuple[int, ...]) -> None:
        """Sets the input's shape; from the second run of a shape on, launches a CUDA graph."""
        if shape == self._shape:
            if not self._is_captured:
                self._launch, self._is_captured = self._device.capture(self._execute), True
            return
        self._launch, self._is_captured, self._shape = self._execute, False, ()
        if not self._least <= shape[0] <= self._most:
            raise EngineRefusalError(f"it was built for batches of {self._least} to {self._most}")
        if not self._engine.context.set_input_shape(self._input.name, shape):
            raise EngineRefusalError(f"it takes {'x'.join(map(str, self._input.shape))}")
        self._shape = shape

    def _execute(self) -> None:
        if not self._engine.context.execute_async_v3(self._device.stream):
            raise EngineRefusalError("; ".join(self._engine.log.errors[-3:]))


def _bytes(tensor: EngineTensor, batch: int) -> int:
    """Bytes of the largest batch; of an output, all dimensions but the batch are fixed."""
    return int(math.prod((batch, *tensor.most[1:])) * np.dtype(tensor.dtype).itemsize)


def open_session(path: Path, manifest: Signature, session_options: SessionOptions) -> GraphSession:
    """Opens an engine; see `engines.opening.open_session`.

    Raises:
        BackendError: no GPU, no TensorRT, or the engine is for another.
        ArtifactError: the engine or its sidecar is damaged.
    """
    index = gpu_index(session_options.device)
    trt = import_library(manifest.kind)
    sidecar = read_sidecar(path)
    check_fits(path, sidecar, machine_here(manifest.kind, trt, index))
    device = open_device(index)
    engine = TensorrtRunner(sidecar, LoadedEngine(trt, bytes_of(path)), device)
    return make_session(engine, path, manifest)
