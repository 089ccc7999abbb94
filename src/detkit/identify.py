"""What a file is: artifact, report, architecture or run folder. Neither torch nor numpy needed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from detkit.artifact import Manifest, read_manifest, sha256_of, size_of
from detkit.errors import ArtifactError
from detkit.run_folder import Record, Run, read_record, read_run


@dataclass(frozen=True, kw_only=True)
class FileInfo:
    """`kind` says what `content` is: that of a manifest, a key of `RECORDS`, or "run folder".

    `sha256` is as `sha256sum` prints it, to compare with the parents of other files; it is empty
    for a folder. An artifact's own digest has been verified, and `bytes` counts all its files.
    """

    schema_version: int = 1
    file: str
    kind: str
    bytes: int
    sha256: str
    content: Manifest | Record | Run


def identify(path: Path) -> FileInfo:
    """Reads and checks what detkit knows about `path`.

    Raises:
        ArtifactError: missing, damaged, or made by another tool; the hint says what to do then.
    """
    if path.is_dir():
        run = read_run(path)
        total = sum((path / name).stat().st_size for name in run.files)
        return FileInfo(file=str(path), kind="run folder", bytes=total, sha256="", content=run)
    if not path.is_file():
        raise ArtifactError(f"no such file: {path}")
    kind, content = _read(path)
    size, sha256 = size_of(path), sha256_of(path)
    return FileInfo(file=str(path), kind=kind, bytes=size, sha256=sha256, content=content)


def _read(path: Path) -> tuple[str, Manifest | Record]:
    if path.suffix == ".json":
        return read_record(path)
    manifest = read_manifest(path)
    return manifest.kind, manifest
