"""Which TensorRT is here, and on which GPU: what an engine is tied to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from detkit.core.errors import BackendError
from detkit.core.lazy_import import install_hint
from detkit.engines.tensorrt import ENGINE, ENGINE_RTX
from detkit.machine.gpu import find_gpu

RTX = ENGINE_RTX.name
MODULES = {engine.name: engine.module for engine in (ENGINE, ENGINE_RTX)}


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The TensorRT and the GPU that an engine runs on.

    What an engine is not tied to is empty: TensorRT-RTX builds without a GPU, for any of them.
    """

    gpu: str = ""
    compute_capability: str = ""
    driver: str = ""  # newest CUDA version it can run
    library: str  # a key of MODULES
    version: str


def import_library(library: str) -> Any:
    """Imports the module of `tensorrt` or `tensorrt-rtx`.

    Raises:
        BackendError: not installed, or its libraries do not load.
    """
    try:
        if library == RTX:
            import tensorrt_rtx as trt
        else:
            import tensorrt as trt
    except (ImportError, OSError) as error:
        raise BackendError(
            f"{library} is not installed here: {error}",
            hint=f"{install_hint(MODULES[library])}; on a Jetson it comes with JetPack",
        ) from error
    return trt


def machine_here(library: str, trt: Any, index: int = 0) -> Machine:
    """Describes TensorRT `trt` and the GPU of this number.

    Raises:
        BackendError: there is no GPU.
    """
    gpu = find_gpu(index)
    return Machine(
        gpu=gpu.name,
        compute_capability=gpu.compute_capability,
        driver=gpu.driver,
        library=library,
        version=str(trt.__version__),
    )


def build_machine(library: str, trt: Any) -> Machine:
    """Describes the machine that an engine built here is for.

    TensorRT tries kernels on the GPU and is tied to it; TensorRT-RTX needs none and leaves the
    choice to the machine that runs.

    Raises:
        BackendError: TensorRT, and there is no GPU.
    """
    if library == RTX:
        return Machine(library=library, version=str(trt.__version__))
    return machine_here(library, trt)


def check_machine(library: str) -> None:
    """Raises BackendError where the library, or a GPU to run its engines, is not here."""
    machine_here(library, import_library(library))
