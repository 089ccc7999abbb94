"""One Session per engine: open an artifact, run a batch, get decoded boxes and scores.

`RUNTIMES` is the plug-in table: name -> "module:function". A new engine is a new file and a line.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from detkit.artifact import Manifest, read_manifest
from detkit.boxes import Array
from detkit.errors import BackendError, UsageError, did_you_mean

RUNTIMES = {
    "torch": "detkit.runtime.torch:open_session",
    "onnxruntime": "detkit.runtime.onnxruntime:open_session",
}
DEFAULT_RUNTIME = {"checkpoint": "torch", "onnx": "onnxruntime"}  # by Manifest.kind


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where and how a session runs. `threads` 0 leaves the choice to the engine."""

    device: str = "cpu"
    threads: int = 0


class Session(Protocol):
    """An opened model. `run` is deterministic and keeps nothing between calls."""

    manifest: Manifest
    runtime: str

    def run(self, images_bchw: Array) -> tuple[Array, Array]:
        """(B, 3, H, W) float32 RGB 0..1 -> boxes (B, A, 4) xyxy input pixels, scores (B, A, C)."""
        ...


def open_session(path: Path, *, runtime: str = "", placement: Placement | None = None) -> Session:
    """Opens an artifact with its natural runtime, or with the one named.

    Raises:
        UsageError: an unknown runtime, or one that cannot run this kind of file.
        BackendError: the runtime is not installed here.
        ArtifactError: the file is missing, damaged or foreign.
    """
    manifest = read_manifest(path)
    name = runtime or DEFAULT_RUNTIME[manifest.kind]
    if name not in RUNTIMES:
        raise UsageError(f"unknown runtime '{name}'", hint=did_you_mean(name, RUNTIMES))
    if name != DEFAULT_RUNTIME[manifest.kind]:
        raise UsageError(f"{name} cannot run {path.name}, a file of kind '{manifest.kind}'")
    module, function = RUNTIMES[name].split(":")
    try:
        opener = getattr(importlib.import_module(module), function)
    except ModuleNotFoundError as error:
        raise BackendError(
            f"{name} is not installed: no module '{error.name}'", hint=f"pip install {error.name}"
        ) from error
    session: Session = opener(path, manifest, placement or Placement())
    return session
