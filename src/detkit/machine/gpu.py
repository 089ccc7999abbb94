"""Which NVIDIA GPU is here, by its driver alone: no CUDA toolkit, no torch.

Everything about libcuda stays in this file, through ctypes; memory and streams are in `device`.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

from detkit.core.device import cuda_index
from detkit.core.errors import BackendError

DRIVER = "libcuda.so.1"
CAPABILITY_MAJOR, CAPABILITY_MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_... (cuda.h)
NAME_BYTES = 256


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """An NVIDIA GPU; `driver` is the newest CUDA version that the driver can run, such as 12.6."""

    name: str
    compute_capability: str
    driver: str


def find_gpu(index: int = 0) -> Gpu:
    """Finds the GPU of this number, as CUDA counts them.

    Raises:
        BackendError: no driver, or no such GPU.
    """
    cuda = _open_driver()
    _check(cuda.cuInit(0), "the driver does not start")
    count, handle = ctypes.c_int(), ctypes.c_int()
    _check(cuda.cuDeviceGetCount(ctypes.byref(count)), "they cannot be counted")
    if index >= count.value:
        raise BackendError(f"no NVIDIA GPU number {index} here: there are {count.value}")
    _check(cuda.cuDeviceGet(ctypes.byref(handle), index), "it cannot be opened")
    name = ctypes.create_string_buffer(NAME_BYTES)
    _check(cuda.cuDeviceGetName(name, NAME_BYTES, handle), "it has no name")
    major, minor = (_attribute(cuda, n, handle) for n in (CAPABILITY_MAJOR, CAPABILITY_MINOR))
    version = ctypes.c_int()
    _check(cuda.cuDriverGetVersion(ctypes.byref(version)), "the driver has no version")
    return Gpu(
        name=name.value.decode(errors="replace"),
        compute_capability=f"{major}.{minor}",
        driver=f"{version.value // 1000}.{version.value % 1000 // 10}",
    )


def gpu_index(device: str) -> int:
    """Reads the GPU's number from a device: N of `cuda:N`, 0 of `cuda` and `auto`.

    Raises:
        BackendError: any other device, also the CPU.
    """
    index = cuda_index(device)
    if index is None and device != "auto":
        raise BackendError(
            f"TensorRT cannot run on device '{device}'", hint="--device cuda, cuda:N or auto"
        )
    return index or 0


def _open_driver() -> ctypes.CDLL:
    try:
        return ctypes.CDLL(DRIVER)
    except OSError as error:
        raise BackendError(f"no NVIDIA GPU here: the driver's {DRIVER} is missing") from error


def _attribute(cuda: ctypes.CDLL, number: int, handle: ctypes.c_int) -> int:
    value = ctypes.c_int()
    code = cuda.cuDeviceGetAttribute(ctypes.byref(value), number, handle)
    _check(code, "it has no compute capability")
    return value.value


def _check(code: int, reason: str) -> None:
    if code:
        raise BackendError(f"no NVIDIA GPU here: {reason} (CUDA error {code})")
