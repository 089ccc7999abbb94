"""An artifact, opened with the engine that runs it."""

from __future__ import annotations

from pathlib import Path

from detkit.artifact.artifact import Signature, read_manifest
from detkit.core.errors import NoManifestError, UsageError
from detkit.core.paths import StrPath
from detkit.engines import engines_of, find_engine
from detkit.onnx_signature.onnx_graph import read_graph
from detkit.onnx_signature.signature import lacks_manifest, sign
from detkit.runtime.session import Session, SessionOptions
from detkit.spec.onnx_description import OnnxDescription


def open_session(
    path: StrPath,
    *,
    engine: str = "",
    session_options: SessionOptions | None = None,
    description: OnnxDescription | None = None,
) -> Session:
    """Opens an artifact with the engine it was made for, or with the one named.

    Args:
        description: what another tool's ONNX file takes and gives.

    Raises:
        UsageError: an unknown engine, or one that cannot run this kind of file; a description of
            a file that describes itself.
        BackendError: the engine is not installed here.
        ArtifactError: the file is missing or damaged; or its description is missing or does not
            fit.
    """
    path = Path(path)
    manifest = _manifest_of(path, description)
    suitable = engines_of(manifest.kind)
    record = find_engine(engine) if engine else suitable[0]
    if record not in suitable:
        raise UsageError(
            f"{record.name} cannot run {path.name}, a file of kind '{manifest.kind}'",
            hint=f"{' or '.join(able.name for able in suitable)} can",
        )
    session: Session = record.load(record.open)(path, manifest, session_options or SessionOptions())
    return session


def _manifest_of(path: Path, description: OnnxDescription | None) -> Signature:
    if description is not None:
        if not lacks_manifest(path):
            raise UsageError(f"--outputs: {path} says itself what its outputs mean")
        return sign(path, read_graph(path), description)
    try:
        return read_manifest(path)
    except NoManifestError as error:
        hint = f"say what its outputs mean: --outputs PRESET or FILE.json (see: detkit info {path})"
        raise NoManifestError(str(error), hint=hint) from error
