"""How a device is called: `auto`, `cpu`, `cuda` or `cuda:N`. Whether it is here is the engine's."""

from __future__ import annotations

import re

from detkit.core.errors import BackendError

NAME = re.compile(r"auto|cpu|cuda(?::(?P<index>[0-9]{1,4}))?")
GPU_OF_OTHERS = re.compile(r"gpu|nvidia|(?:gpu:?|cuda)?(?P<index>[0-9]{1,4})", re.IGNORECASE)


def check_device_name(name: str) -> None:
    """Refuses what is no name of a device, with the one that is meant.

    Raises:
        BackendError: no such device.
    """
    if not NAME.fullmatch(name):
        raise BackendError(f"there is no device '{name}'", hint=_hint(name))


def cuda_index(name: str) -> int | None:
    """The number of a CUDA device, 0 for `cuda`; None of any other.

    >>> cuda_index("cuda:1"), cuda_index("cuda"), cuda_index("auto")
    (1, 0, None)

    Raises:
        BackendError: no name of a device.
    """
    check_device_name(name)
    return int(name.partition(":")[2] or 0) if name.startswith("cuda") else None


def _hint(name: str) -> str:
    if name.lower() in ("auto", "cpu", "cuda"):
        return f"--device {name.lower()}"
    if name.lower() in ("mps", "metal", "xpu", "rocm", "hip"):
        return "detkit runs on CPUs and NVIDIA GPUs: --device cpu"
    if found := GPU_OF_OTHERS.fullmatch(name):
        index = f":{int(found['index'])}" if found["index"] else ""
        return f"--device cuda{index}; without a GPU: --device cpu"
    if re.fullmatch(r"[0-9]+(,[0-9]*)+", name):
        return f"a verb runs on one device: --device cuda:{int(name.partition(',')[0])}"
    return "--device auto, cpu, cuda or cuda:N"
