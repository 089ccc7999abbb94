"""Memory, a stream, events and graphs of an NVIDIA GPU, by whichever package is here.

`BACK_ENDS` are tried in order: pycuda, which JetPack's images have; cuda-python, which has CUDA
graphs; torch, which takes a second to import. None of them has been run on a GPU by its tests.
Addresses are integers, work goes to one stream and is not waited
for unless `synchronize` is called. Nothing is imported before it is asked for.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable
from typing import Any, Protocol

import numpy.typing as npt

from detkit.core.errors import BackendError
from detkit.core.lazy_import import install_hint

HostArray = npt.NDArray[Any]  # C-contiguous


class Device(Protocol):
    """One GPU. What it allocates lives as long as it does."""

    stream: int

    def allocate(self, size: int) -> int: ...

    def upload(self, address: int, source: HostArray) -> None: ...

    def download(self, target: HostArray, address: int) -> None: ...

    def synchronize(self) -> None: ...

    def event(self) -> Any:
        """A new event, to `record` in the stream again and again."""
        ...

    def record(self, event: Any) -> None: ...

    def elapsed_ms(self, start: Any, end: Any) -> float:
        """Milliseconds between two events that the stream has passed."""
        ...

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """Records what `work` gives to the stream as one CUDA graph, and returns its launch.

        Where there are no graphs it is `work` itself, which must have run once before.
        """
        ...


class PycudaDevice:
    """A GPU by pycuda, in the primary context, which TensorRT shares. No graphs."""

    def __init__(self, index: int) -> None:
        import pycuda.driver as cuda

        cuda.init()
        self._cuda = cuda
        self._context = cuda.Device(index).retain_primary_context()
        self._context.push()
        atexit.register(self._context.pop)
        self._stream = cuda.Stream()
        self._memory: list[Any] = []
        self.stream = int(self._stream.handle)

    def allocate(self, size: int) -> int:
        self._memory.append(self._cuda.mem_alloc(size))
        return int(self._memory[-1])

    def upload(self, address: int, source: HostArray) -> None:
        self._cuda.memcpy_htod_async(address, source, self._stream)

    def download(self, target: HostArray, address: int) -> None:
        self._cuda.memcpy_dtoh_async(target, address, self._stream)

    def synchronize(self) -> None:
        self._stream.synchronize()

    def event(self) -> Any:
        return self._cuda.Event()

    def record(self, event: Any) -> None:
        event.record(self._stream)

    def elapsed_ms(self, start: Any, end: Any) -> float:
        return float(start.time_till(end))

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        return work


class CudaPythonDevice:
    """A GPU by NVIDIA's cuda-python: `cuda.bindings.runtime`, or `cuda.cudart` before 12.6."""

    def __init__(self, index: int) -> None:
        try:
            from cuda.bindings import runtime as cuda
        except ImportError:
            from cuda import cudart as cuda

        self._cuda = cuda
        self._call("cudaSetDevice", index)
        self._stream = self._call("cudaStreamCreate")
        self.stream = int(self._stream)

    def _call(self, function: str, *args: Any) -> Any:
        """Calls what returns (error,) or (error, result); the result, or BackendError."""
        error, *results = getattr(self._cuda, function)(*args)
        if int(error):
            text = self._cuda.cudaGetErrorString(error)[1].decode()
            raise BackendError(f"{function}: {text} (CUDA error {int(error)})")
        return results[0] if results else None

    def allocate(self, size: int) -> int:
        return int(self._call("cudaMalloc", size))

    def upload(self, address: int, source: HostArray) -> None:
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call(
            "cudaMemcpyAsync", address, source.ctypes.data, source.nbytes, kind, self._stream
        )

    def download(self, target: HostArray, address: int) -> None:
        kind = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call(
            "cudaMemcpyAsync", target.ctypes.data, address, target.nbytes, kind, self._stream
        )

    def synchronize(self) -> None:
        self._call("cudaStreamSynchronize", self._stream)

    def event(self) -> Any:
        return self._call("cudaEventCreate")

    def record(self, event: Any) -> None:
        self._call("cudaEventRecord", event, self._stream)

    def elapsed_ms(self, start: Any, end: Any) -> float:
        return float(self._call("cudaEventElapsedTime", start, end))

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        mode = self._cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call("cudaStreamBeginCapture", self._stream, mode)
        try:
            work()
        finally:
            graph = self._call("cudaStreamEndCapture", self._stream)
        executable = self._call("cudaGraphInstantiate", graph, 0)
        return lambda: self._call("cudaGraphLaunch", executable, self._stream)


class TorchDevice:
    """A GPU by torch, where it is here anyway; the only back end that a device may be spared."""

    def __init__(self, index: int) -> None:
        import torch

        if not torch.cuda.is_available():
            raise BackendError("torch has no GPU here")
        self._torch, self._device = torch, torch.device("cuda", index)
        self._stream = torch.cuda.Stream(self._device)
        self._memory: dict[int, Any] = {}
        self.stream = int(self._stream.cuda_stream)

    def allocate(self, size: int) -> int:
        memory = self._torch.empty(size, dtype=self._torch.uint8, device=self._device)
        self._memory[memory.data_ptr()] = memory
        return int(memory.data_ptr())

    def upload(self, address: int, source: HostArray) -> None:
        with self._torch.cuda.stream(self._stream):
            self._memory[address][: source.nbytes].copy_(self._bytes(source), non_blocking=True)

    def download(self, target: HostArray, address: int) -> None:
        with self._torch.cuda.stream(self._stream):
            self._bytes(target).copy_(self._memory[address][: target.nbytes], non_blocking=True)

    def _bytes(self, array: HostArray) -> Any:
        """A tensor of uint8 (N,) over the memory of the array."""
        return self._torch.from_numpy(array.reshape(-1).view("uint8"))

    def synchronize(self) -> None:
        self._stream.synchronize()

    def event(self) -> Any:
        return self._torch.cuda.Event(enable_timing=True)

    def record(self, event: Any) -> None:
        event.record(self._stream)

    def elapsed_ms(self, start: Any, end: Any) -> float:
        return float(start.elapsed_time(end))

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        graph = self._torch.cuda.CUDAGraph()
        with self._torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
            work()

        def launch() -> None:
            with self._torch.cuda.stream(self._stream):
                graph.replay()

        return launch


BACK_ENDS: dict[str, Callable[[int], Device]] = {
    "pycuda": PycudaDevice,
    "cuda-python": CudaPythonDevice,
    "torch": TorchDevice,
}


def open_device(index: int) -> Device:
    """Opens the GPU of this number by the first back end that works.

    Raises:
        BackendError: none does; it says why not, one by one.
    """
    reasons = []
    for name, back_end in BACK_ENDS.items():
        try:
            return back_end(index)
        except (ImportError, OSError, RuntimeError, BackendError) as error:
            reasons.append(f"{name}: {error}")
    raise BackendError(
        f"no way to the memory of the GPU ({'; '.join(reasons)})",
        hint=f"{install_hint('cuda-bindings')}; on a Jetson: {install_hint('pycuda')}",
    )
