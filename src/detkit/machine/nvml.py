"""Clock, heat, power and limits of an NVIDIA card, by the driver's own library (NVML, nvml.h).

Reading takes well under a millisecond, a start of nvidia-smi many; and it works where that program
is not installed. Not run on a card yet.
"""

from __future__ import annotations

import ctypes
import functools
from dataclasses import dataclass
from typing import Any

LIBRARY = "libnvidia-ml.so.1"
SM_CLOCK, GPU_SENSOR = 1, 0  # NVML_CLOCK_SM, NVML_TEMPERATURE_GPU
# nvmlClocksEventReason...: the ones that slow a busy card down. Idle and settings are none.
LIMITS = {
    0x04: "power cap",
    0x08: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "power brake",
}


@dataclass(frozen=True, kw_only=True)
class GpuState:
    mhz: float | None = None
    temperature_c: float | None = None
    power_w: float | None = None
    limits: tuple[str, ...] = ()


NO_GPU = GpuState()


def read_gpu(index: int, library: Any = None) -> GpuState:
    """Reads the state of the card of this number; `NO_GPU` where there is no driver.

    Args:
        library: NVML, by default the one of this machine.
    """
    nvml = library or _open_library()
    handle = ctypes.c_void_p()
    if nvml is None or nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle)):
        return NO_GPU
    mhz = _number(nvml.nvmlDeviceGetClockInfo, handle, SM_CLOCK)
    heat = _number(nvml.nvmlDeviceGetTemperature, handle, GPU_SENSOR)
    milliwatts = _number(nvml.nvmlDeviceGetPowerUsage, handle)
    bits = ctypes.c_ulonglong()
    code = nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle, ctypes.byref(bits))
    return GpuState(
        mhz=mhz,
        temperature_c=heat,
        power_w=milliwatts / 1e3 if milliwatts is not None else None,
        limits=tuple(name for bit, name in LIMITS.items() if not code and bits.value & bit),
    )


def _number(function: Any, handle: ctypes.c_void_p, *args: int) -> float | None:
    """Calls a function for an unsigned int; None where the card does not support it."""
    value = ctypes.c_uint()
    code = function(handle, *args, ctypes.byref(value))
    return None if code else float(value.value)


@functools.cache
def _open_library() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError:
        return None
    return None if library.nvmlInit_v2() else library
