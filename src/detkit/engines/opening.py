"""An artifact, opened with the engine that runs it.

`RUNTIMES` is the plug-in table: name -> "module:function". A new engine is a new file and a line.
"""

from __future__ import annotations

from pathlib import Path

from detkit.artifact.artifact import Signature, read_manifest
from detkit.core.errors import ForeignFileError, UsageError, did_you_mean
from detkit.core.lazy_import import load_plugin
from detkit.foreign.onnx_graph import read_graph
from detkit.foreign.signature import is_foreign, sign
from detkit.runtime.session import Placement, Session
from detkit.spec.foreign import ForeignSpec

RUNTIMES = {
    "torch": "detkit.engines.torch.session:open_session",
    "onnxruntime": "detkit.engines.onnxruntime.session:open_session",
    "openvino": "detkit.engines.openvino.session:open_session",
    "tensorrt": "detkit.engines.tensorrt.session:open_session",
    "tensorrt-rtx": "detkit.engines.tensorrt.session:open_session",
}
RUNTIMES_OF = {  # Manifest.kind -> what can run it, the default first
    "checkpoint": ("torch",),
    "onnx": ("onnxruntime", "openvino"),
    "openvino": ("openvino",),
    "tensorrt": ("tensorrt",),
    "tensorrt-rtx": ("tensorrt-rtx",),
}


def open_session(
    path: Path,
    *,
    runtime: str = "",
    placement: Placement | None = None,
    foreign: ForeignSpec | None = None,
) -> Session:
    """Opens an artifact with its natural runtime, or with the one named.

    Args:
        foreign: what another tool's ONNX file takes and gives.

    Raises:
        UsageError: an unknown runtime, or one that cannot run this kind of file; a description of
            a file that describes itself.
        BackendError: the runtime is not installed here.
        ArtifactError: the file is missing or damaged; foreign, and not or not rightly described.
    """
    manifest = _manifest_of(path, foreign)
    suitable = RUNTIMES_OF[manifest.kind]
    name = runtime or suitable[0]
    if name not in RUNTIMES:
        raise UsageError(f"unknown runtime '{name}'", hint=did_you_mean(name, RUNTIMES))
    if name not in suitable:
        raise UsageError(
            f"{name} cannot run {path.name}, a file of kind '{manifest.kind}'",
            hint=f"{' or '.join(suitable)} can",
        )
    opener = load_plugin(name, RUNTIMES[name])
    session: Session = opener(path, manifest, placement or Placement())
    return session


def _manifest_of(path: Path, foreign: ForeignSpec | None) -> Signature:
    if foreign is not None:
        if not is_foreign(path):
            raise UsageError(f"--outputs: {path} says itself what its outputs mean")
        return sign(path, read_graph(path), foreign)
    try:
        return read_manifest(path)
    except ForeignFileError as error:
        hint = f"say what its outputs mean: --outputs PRESET or FILE.json (see: detkit info {path})"
        raise ForeignFileError(str(error), hint=hint) from error
