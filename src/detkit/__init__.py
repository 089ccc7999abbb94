"""Train, search, quantize, export and measure real-time object detectors.

    import detkit

    model = detkit.load("best.onnx")
    for box, score, name in model.predict("photo.jpg"):
        print(name, score, box)

The names below are imported when they are first used, so `import detkit` is instant and needs no
torch. Everything else is a verb of the command line, or a module named in ARCHITECTURE.md.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from detkit.core import version

if TYPE_CHECKING:
    from detkit.api import Model, Result, evaluate, load
    from detkit.artifact.artifact import read_manifest
    from detkit.core.boxes import Detections, NmsConfig, nms
    from detkit.core.errors import DetkitError, DetkitWarning
    from detkit.data.coco.folder import open_folder
    from detkit.search.strategies import make_searcher
    from detkit.spec.arch import ArchSpec
    from detkit.spec.space import SearchSpace
    from detkit.spec.zoo import find_arch

__version__ = version.VERSION

_HOMES = {
    "ArchSpec": "detkit.spec.arch",
    "Detections": "detkit.core.boxes",
    "DetkitError": "detkit.core.errors",
    "DetkitWarning": "detkit.core.errors",
    "Model": "detkit.api",
    "NmsConfig": "detkit.core.boxes",
    "Result": "detkit.api",
    "SearchSpace": "detkit.spec.space",
    "evaluate": "detkit.api",
    "find_arch": "detkit.spec.zoo",
    "load": "detkit.api",
    "make_searcher": "detkit.search.strategies",
    "nms": "detkit.core.boxes",
    "open_folder": "detkit.data.coco.folder",
    "read_manifest": "detkit.artifact.artifact",
}

__all__ = [
    "ArchSpec",
    "Detections",
    "DetkitError",
    "DetkitWarning",
    "Model",
    "NmsConfig",
    "Result",
    "SearchSpace",
    "__version__",
    "evaluate",
    "find_arch",
    "load",
    "make_searcher",
    "nms",
    "open_folder",
    "read_manifest",
]


if not TYPE_CHECKING:  # a type checker knows the names above, and should know no others

    def __getattr__(name: str) -> Any:
        """Imports a name of the front door when it is first asked for."""
        if name not in _HOMES:
            raise AttributeError(f"module 'detkit' has no attribute '{name}'")
        return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
