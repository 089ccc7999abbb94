"""NAME.engine and NAME.engine.json: a TensorRT engine, and beside it what it is and for whom.

An engine runs only with the TensorRT and on the GPU it was built for, and says neither. What is in
the JSON is compared with this machine before a byte of the engine is read by TensorRT.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from detkit.artifact.artifact import Manifest, atomic_path, write_text
from detkit.artifact.embedded import sidecar_of
from detkit.core.errors import ArtifactError, BackendError, UsageError
from detkit.core.serialization import digest_of, from_plain, to_json, to_plain
from detkit.engines.tensorrt.build_machine import Machine


@dataclass(frozen=True, kw_only=True)
class EngineRecord:
    """The sidecar. `manifest.digest` is the engine's SHA-256, `digest` that of all else here."""

    schema_version: int = 1
    manifest: Manifest
    machine: Machine
    batches: tuple[int, int, int]  # least, tuned for, most
    graph_sha256: str  # of the ONNX graph given to TensorRT
    digest: str = ""


def write_engine(path: Path, engine: bytes, record: EngineRecord) -> None:
    """Writes both files. After a kill between the two, the pair is refused as damaged."""
    manifest = dataclasses.replace(record.manifest, digest=hashlib.sha256(engine).hexdigest())
    record = dataclasses.replace(record, manifest=manifest, digest="")
    record = dataclasses.replace(record, digest=digest_of(record))
    with atomic_path(path) as partial:
        partial.write_bytes(engine)
    write_text(sidecar_of(path), to_json(record) + "\n")


def read_record(path: Path) -> EngineRecord:
    """The sidecar of an engine whose manifest has been read, and with that verified.

    Raises:
        ArtifactError: missing, damaged, or of a newer detkit.
    """
    sidecar = sidecar_of(path)
    try:
        record = from_plain(EngineRecord, json.loads(sidecar.read_bytes()), where=sidecar.name)
    except (OSError, ValueError, UsageError) as error:
        raise ArtifactError(f"{sidecar}: cannot be read: {error}") from error
    if digest_of(to_plain(dataclasses.replace(record, digest=""))) != record.digest:
        raise ArtifactError(f"{sidecar} is damaged: its content does not match its digest")
    return record


def check_fits(path: Path, record: EngineRecord, here: Machine) -> None:
    """Raises BackendError where the engine was built for another TensorRT or GPU than `here`."""
    built = record.machine
    pairs = (
        ("library", built.library, here.library),
        (built.library, built.version, here.version),
        ("GPU", built.gpu, here.gpu),
        ("compute capability", built.compute_capability, here.compute_capability),
    )
    faults = [f"{what} {was}, not {now}" for what, was, now in pairs if was and was != now]
    if faults:
        parent = record.manifest.parents[0].name if record.manifest.parents else "CHECKPOINT"
        raise BackendError(
            f"{path} is for {'; '.join(faults)} as here",
            hint=f"build it here: detkit export --to {built.library} {parent}",
        )
