"""Finding the GPU: what is said where there is none. The driver is faked for error paths only."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace
from typing import Any

import pytest

from detkit.core.errors import BackendError
from detkit.machine import gpu
from detkit.machine.gpu import find_gpu, gpu_index


def driver(**codes: int) -> Any:
    """A libcuda whose functions return these codes, and 0 GPUs."""
    names = ("cuInit", "cuDeviceGetCount", "cuDeviceGet", "cuDeviceGetName")
    return SimpleNamespace(**{name: lambda *_, n=name: codes.get(n, 0) for name in names})


def test_without_a_driver_its_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "DRIVER", "libno_such_driver.so.1")
    with pytest.raises(BackendError, match=r"libno_such_driver\.so\.1 is missing"):
        find_gpu()


def test_a_driver_without_a_gpu_gives_its_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: driver(cuInit=100))
    with pytest.raises(BackendError, match=r"the driver does not start \(CUDA error 100\)"):
        find_gpu()


def test_a_number_too_high_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: driver())
    with pytest.raises(BackendError, match="no NVIDIA GPU number 2 here: there are 0"):
        find_gpu(2)


@pytest.mark.parametrize(("name", "index"), [("auto", 0), ("cuda", 0), ("cuda:3", 3)])
def test_devices_have_numbers(name: str, index: int) -> None:
    assert gpu_index(name) == index


@pytest.mark.parametrize("name", ["cuda:x", "cuda:-1", "tpu", ""])
def test_what_is_no_device_is_refused(name: str) -> None:
    with pytest.raises(BackendError, match=f"there is no device '{name}'"):
        gpu_index(name)


def test_the_cpu_is_refused() -> None:
    with pytest.raises(BackendError, match="TensorRT cannot run on device 'cpu'") as raised:
        gpu_index("cpu")
    assert raised.value.hint == "--device cuda, cuda:N or auto"
