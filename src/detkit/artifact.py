"""What every file made by detkit says of itself, and how it reaches the disk whole.

What lives here: the manifest, its place in safetensors and ONNX files, the content digest, lineage
and the atomic write. What does not: tensors and graphs (see `nn.checkpoint`, `export`). Nothing
here imports torch, onnx or numpy, so `detkit info` is quick and works on any device.

The digest is the SHA-256 of the whole file with the digest's own 64 characters replaced by
`PLACEHOLDER`; one flipped bit anywhere is noticed, which neither torch.load nor safetensors does.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import importlib.metadata
import json
import os
import platform
import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from detkit.codec import from_json, to_json
from detkit.errors import ArtifactError, DetkitError, UsageError
from detkit.spec.arch import ArchSpec
from detkit.spec.preprocess import Preprocess

SCHEMA_VERSION = 1
METADATA_KEY = "detkit"
PLACEHOLDER = "digest-of-the-file-with-this-text-in-the-place-of-the-digest----"
MAX_HEADER_BYTES = 100_000_000  # as the safetensors format caps its header


@dataclass(frozen=True, kw_only=True)
class TensorInfo:
    """One input or output; a string in `shape` names a dynamic dimension."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True, kw_only=True)
class Parent:
    """The file an artifact was made from, as `sha256sum` prints it."""

    name: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The self-description inside every artifact.

    `kind` is checkpoint, onnx, tensorrt or tensorrt-rtx; `form` is training (branches), deployed
    (fused) or nms (boxes already suppressed). `data` is the COCO folder it was trained on, where
    verbs look for real pictures to compare with; it may be gone.
    """

    kind: str
    schema_version: int = SCHEMA_VERSION
    arch: ArchSpec
    form: str = "training"
    precision: str = "fp32"
    class_names: tuple[str, ...]
    preprocess: Preprocess
    inputs: tuple[TensorInfo, ...] = ()
    outputs: tuple[TensorInfo, ...] = ()
    parents: tuple[Parent, ...] = ()
    command: str = ""
    data: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    digest: str = ""

    def __post_init__(self) -> None:
        if len(self.class_names) != self.arch.num_classes:
            raise UsageError(
                f"manifest: {len(self.class_names)} class names for {self.arch.num_classes} classes"
            )


def versions(*packages: str) -> dict[str, str]:
    """The installed versions of detkit, Python and `packages`, without importing them."""
    found = {"detkit": importlib.metadata.version("detkit"), "python": platform.python_version()}
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def command_line(verb: str) -> str:
    """How the running process was called, where that was on the command line; else the verb."""
    program, *args = sys.argv or [""]
    return shlex.join(["detkit", *args]) if Path(program).name == "detkit" else verb


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of the file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def parent_of(path: Path) -> Parent:
    return Parent(name=path.name, sha256=sha256_of(path))


# --- reading -------------------------------------------------------------------------------------


def read_manifest(path: Path, *, verify: bool = True) -> Manifest:
    """The manifest inside a detkit checkpoint or ONNX file.

    Raises:
        ArtifactError: missing, not a detkit artifact, of a newer schema, or damaged.
    """
    if not path.is_file():
        raise ArtifactError(f"no such file: {path}")
    text = _manifest_text(path)
    try:
        newer = json.loads(text).get("schema_version", 0) > SCHEMA_VERSION
        manifest = None if newer else from_json(Manifest, text, where=path.name)
    except (UsageError, ValueError, AttributeError, TypeError, RecursionError) as error:
        raise ArtifactError(f"{path}: unreadable manifest: {error}") from error
    if manifest is None:
        raise ArtifactError(f"{path} was made by a newer detkit", hint="upgrade detkit")
    if verify and _file_digest(path, manifest.digest) != manifest.digest:
        raise ArtifactError(
            f"{path} is damaged: its content does not match its digest",
            hint="copy or make it again",
        )
    return manifest


def _manifest_text(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(8)
    if path.suffix == ".safetensors":
        text = _safetensors_metadata(path)
    elif path.suffix == ".onnx":
        text = _onnx_metadata(path)
    elif path.suffix == ".engine":
        text = _sidecar_manifest(path)
    elif head[:2] == b"PK" or path.suffix in (".pth", ".pt", ".ckpt"):
        raise ArtifactError(
            f"{path} is a foreign checkpoint", hint=f"detkit import {path} -o model.safetensors"
        )
    else:
        raise ArtifactError(f"{path} is not a detkit artifact (.safetensors, .onnx or .engine)")
    if text is None:
        raise ArtifactError(f"{path} carries no detkit manifest: another tool made it")
    return text


def _safetensors_metadata(path: Path) -> str | None:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(MAX_HEADER_BYTES, path.stat().st_size - 8):
            raise ArtifactError(f"{path} is not a safetensors file, or is cut short")
        raw = file.read(length)
    try:
        text = json.loads(raw).get("__metadata__", {}).get(METADATA_KEY)
    except (ValueError, AttributeError, RecursionError) as error:
        raise ArtifactError(f"{path}: the safetensors header is damaged") from error
    return text if isinstance(text, str) else None


def _onnx_metadata(path: Path) -> str | None:
    """Walks the protobuf fields of ModelProto; metadata_props is field 14 (onnx.proto3)."""
    data = path.read_bytes()
    try:
        for number, value in protobuf_fields(data):
            if number == 14 and isinstance(value, memoryview):
                entry = {n: bytes(v) for n, v in protobuf_fields(value) if not isinstance(v, int)}
                if entry.get(1) == METADATA_KEY.encode():
                    return entry[2].decode()
    except (IndexError, ValueError, KeyError) as error:
        raise ArtifactError(f"{path} is not an ONNX file, or is cut short") from error
    return None


def sidecar_of(path: Path) -> Path:
    """The file that speaks for one in whose format there is no room for a manifest."""
    return path.with_name(f"{path.name}.json")


def _sidecar_manifest(path: Path) -> str:
    try:
        return json.dumps(json.loads(sidecar_of(path).read_bytes())["manifest"])
    except FileNotFoundError as error:
        raise ArtifactError(
            f"{path} has no {sidecar_of(path).name} beside it", hint="copy both files together"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ArtifactError(f"{sidecar_of(path)} is damaged: {error!r}") from error


def protobuf_fields(data: bytes | memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """(field number, integer or bytes) in wire order; ValueError where the bytes make no sense."""
    view, at = memoryview(data), 0
    while at < len(view):
        tag, at = _varint(view, at)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == 0:
            value, at = _varint(view, at)
            yield number, value
            continue
        fixed = {1: 8, 5: 4}
        if wire_type == 2:
            length, at = _varint(view, at)
        elif wire_type in fixed:
            length = fixed[wire_type]
        else:
            raise ValueError("unknown wire type")
        if at + length > len(view):
            raise ValueError("cut short")
        yield number, view[at : at + length]
        at += length


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise ValueError("endless number")


# --- writing -------------------------------------------------------------------------------------


def write_artifact(
    path: Path, manifest: Manifest, write_file: Callable[[Path, str], None]
) -> Manifest:
    """Writes an artifact atomically and seals it with its digest.

    `write_file(partial_path, manifest_json)` writes the payload with the manifest in its metadata.
    Returns the manifest with the digest it was sealed with.
    """
    with atomic_path(path) as partial:
        write_file(partial, to_json(dataclasses.replace(manifest, digest=PLACEHOLDER), indent=None))
        digest = sha256_of(partial)
        with partial.open("r+b") as file:
            at = file.read().index(PLACEHOLDER.encode())
            file.seek(at)
            file.write(digest.encode())
    return dataclasses.replace(manifest, digest=digest)


def _file_digest(path: Path, digest: str) -> str:
    data = path.read_bytes()
    return hashlib.sha256(data.replace(digest.encode(), PLACEHOLDER.encode(), 1)).hexdigest()


@contextlib.contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`, renamed onto it when the block ends without an error.

    A kill at any instant leaves the old file or the new one. Files left by killed writers are
    swept by the next write to the same name.

    Raises:
        DetkitError: the disk is full, or the folder cannot be written to.
    """
    prefix, suffix = f".{path.name}.", f".partial{path.suffix}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(suffix, f"{prefix}{os.getpid()}.", path.parent)
        os.close(handle)
    except OSError as error:
        raise write_error(path, error) from error
    partial = Path(name)
    try:
        yield partial
        partial.chmod(0o666 & ~_umask())
        _sync(partial)
        os.replace(partial, path)  # noqa: PTH105
        _sync(path.parent)
        _sweep(path.parent, prefix, suffix)
    except OSError as error:
        raise write_error(path, error) from error
    except RuntimeError as error:  # torch and safetensors report a full disk this way
        if _free_bytes(path.parent) < 1 << 20:
            raise write_error(path, OSError(errno.ENOSPC, "disk full")) from error
        raise
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text atomically."""
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_error(path: Path, error: OSError) -> DetkitError:
    """What to tell a user whose file could not be written."""
    reason = "the disk is full" if error.errno == errno.ENOSPC else error.strerror or str(error)
    return ArtifactError(f"cannot write {path}: {reason}")


def _free_bytes(folder: Path) -> int:
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sweep(folder: Path, prefix: str, suffix: str) -> None:
    """Removes what killed writers of this name left; a living writer's file stays."""
    for stale in folder.glob(f"{prefix}*{suffix}"):
        pid = stale.name.removeprefix(prefix).split(".")[0]
        if pid.isdecimal() and not Path(f"/proc/{pid}").exists():
            stale.unlink(missing_ok=True)
