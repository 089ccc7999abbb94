"""The back ends for GPU memory, faked: which is asked first, and what each is told."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from detkit.core.errors import BackendError
from detkit.engines.tensorrt.device import BACK_ENDS, CudaPythonDevice, TorchDevice, open_device


class FakeRuntime(ModuleType):
    """Every call succeeds, is written down, and gives 7."""

    def __init__(self, name: str, error: int = 0) -> None:
        super().__init__(name)
        self.calls: list[str] = []
        self.error = error
        kinds = SimpleNamespace(cudaMemcpyHostToDevice=1, cudaMemcpyDeviceToHost=2)
        modes = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)
        vars(self).update(cudaMemcpyKind=kinds, cudaStreamCaptureMode=modes)

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("cuda"):
            raise AttributeError(name)

        def call(*args: Any) -> tuple[Any, ...]:
            if name == "cudaGetErrorString":
                return (0, b"no device")
            self.calls.append(name)
            return (self.error, 7)

        return call


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """No back end's package is here."""
    for package in ("pycuda", "pycuda.driver", "cuda", "cuda.bindings", "cuda.cudart", "torch"):
        monkeypatch.setitem(sys.modules, package, None)
    return monkeypatch


def put_cuda(monkeypatch: pytest.MonkeyPatch, name: str, runtime: FakeRuntime) -> None:
    """Installs `runtime` as module `name` of the cuda package, and only that."""
    cuda: Any = ModuleType("cuda")
    cuda.__path__ = []
    parent, _, last = name.rpartition(".")
    monkeypatch.setitem(sys.modules, "cuda", cuda)
    holder: Any = cuda if parent == "cuda" else ModuleType(parent)
    setattr(holder, last, runtime)
    monkeypatch.setitem(sys.modules, parent, holder)
    monkeypatch.setitem(sys.modules, name, runtime)


def test_the_order_is_pycuda_then_cuda_python_then_torch() -> None:
    assert list(BACK_ENDS) == ["pycuda", "cuda-python", "torch"]


def test_the_first_that_works_is_taken_and_no_later_one_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    def absent(index: int) -> Any:
        asked.append("absent")
        raise ImportError("not here")

    def works(index: int) -> Any:
        asked.append("works")
        return index

    order = {"a": absent, "b": works, "c": absent}
    monkeypatch.setattr("detkit.engines.tensorrt.device.BACK_ENDS", order)
    found: Any = open_device(3)
    assert (found, asked) == (3, ["absent", "works"])


@pytest.mark.parametrize("name", ["cuda.bindings.runtime", "cuda.cudart"])
def test_cuda_python_is_found_by_its_new_and_its_old_name(
    alone: pytest.MonkeyPatch, name: str
) -> None:
    runtime = FakeRuntime(name)
    put_cuda(alone, name, runtime)
    device = open_device(0)
    assert isinstance(device, CudaPythonDevice)
    assert (device.stream, device.allocate(16)) == (7, 7)
    device.upload(7, np.zeros(4, np.float32))
    device.capture(lambda: device.download(np.zeros(4, np.float32), 7))()
    device.synchronize()
    assert runtime.calls == [
        "cudaSetDevice", "cudaStreamCreate", "cudaMalloc", "cudaMemcpyAsync",
        "cudaStreamBeginCapture", "cudaMemcpyAsync", "cudaStreamEndCapture",
        "cudaGraphInstantiate", "cudaGraphLaunch", "cudaStreamSynchronize",
    ]  # fmt: skip


def test_an_error_of_cuda_is_told_and_the_next_back_end_asked(alone: pytest.MonkeyPatch) -> None:
    put_cuda(alone, "cuda.bindings.runtime", FakeRuntime("runtime", error=35))
    with pytest.raises(BackendError, match=r"cuda-python: cudaSetDevice: no device .*; torch: "):
        open_device(0)


def test_torch_without_a_gpu_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: False))
    monkeypatch.setitem(sys.modules, "torch", torch)
    with pytest.raises(BackendError, match="torch has no GPU here"):
        TorchDevice(0)


def test_bytes_of_torch_go_up_and_come_down() -> None:
    """On the CPU: the copies themselves, without a stream."""
    import torch

    device: Any = TorchDevice.__new__(TorchDevice)
    no_stream = SimpleNamespace(cuda=SimpleNamespace(stream=lambda _: torch.no_grad()))
    device._torch = SimpleNamespace(
        empty=torch.empty, uint8=torch.uint8, from_numpy=torch.from_numpy, cuda=no_stream.cuda
    )
    device._device, device._stream, device._memory = torch.device("cpu"), None, {}
    address = device.allocate(64)
    source, target = np.arange(6, dtype=np.float32).reshape(2, 3), np.zeros((3, 2), np.float32)
    device.upload(address, source)
    device.download(target, address)
    assert np.array_equal(target.reshape(-1), source.reshape(-1))
