"""NAME.engine and NAME.engine.json: a TensorRT engine, and beside it what it is and for whom.

An engine runs only with the TensorRT and on the GPU it was built for, and says neither. What is in
the JSON is compared with this machine before a byte of the engine is read by TensorRT.
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path

from detkit.artifact.artifact import Manifest
from detkit.artifact.embedded import sidecar_of
from detkit.artifact.writing import write_bytes, write_text
from detkit.core.content_digest import Sealed
from detkit.core.errors import ArtifactError, BackendError, UsageError
from detkit.core.json_text import parse_json
from detkit.core.reading import bytes_of
from detkit.core.serialization import from_plain, to_json
from detkit.engines.tensorrt.build_machine import Machine


@dataclass(frozen=True, kw_only=True)
class EngineSidecar(Sealed):
    """What the JSON file beside an engine says of it; `manifest.digest` is the engine's SHA-256."""

    schema_version: int = 1
    manifest: Manifest
    machine: Machine
    batches: tuple[int, int, int]  # least, tuned for, most
    graph_sha256: str  # of the ONNX graph given to TensorRT


def write_engine(path: Path, engine: bytes, sidecar: EngineSidecar) -> None:
    """Writes both files. After a kill between the two, the pair is refused as damaged."""
    manifest = dataclasses.replace(sidecar.manifest, digest=hashlib.sha256(engine).hexdigest())
    sidecar = dataclasses.replace(sidecar, manifest=manifest)
    write_bytes(path, engine)
    write_text(sidecar_of(path), to_json(sidecar) + "\n")


def read_sidecar(path: Path) -> EngineSidecar:
    """Reads the sidecar of an engine whose manifest has been read and verified.

    Raises:
        ArtifactError: missing, damaged, or of a newer detkit.
    """
    file = sidecar_of(path)
    try:
        return from_plain(EngineSidecar, parse_json(bytes_of(file)), where=str(file))
    except (OSError, ValueError, UsageError) as error:
        raise ArtifactError(f"{file}: cannot be read: {error}") from error


def check_fits(path: Path, sidecar: EngineSidecar, here: Machine) -> None:
    """Raises BackendError where the engine was built for another TensorRT or GPU than `here`."""
    built = sidecar.machine
    pairs = (
        ("library", built.library, here.library),
        (built.library, built.version, here.version),
        ("GPU", built.gpu, here.gpu),
        ("compute capability", built.compute_capability, here.compute_capability),
    )
    faults = [f"{what} {was}, not {now}" for what, was, now in pairs if was and was != now]
    if faults:
        parent = sidecar.manifest.parents[0].name if sidecar.manifest.parents else "CHECKPOINT"
        raise BackendError(
            f"{path} is for {'; '.join(faults)} as here",
            hint=f"build it here: detkit export --to {built.library} {parent}",
        )
