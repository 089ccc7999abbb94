"""What every file made by detkit says of itself.

What lives here: the manifest, the content digest and lineage. What does not: the manifest's key in
each file format (see `embedded`), how a file reaches the disk whole (`writing`), tensors and graphs
(see `nn.checkpoint`, `export`). Nothing here imports torch, onnx or numpy, so `detkit info` is
quick and works anywhere.

The digest is that of the whole file (see `seal`); one flipped bit anywhere is noticed, which
neither torch.load nor safetensors does.

An OpenVINO artifact is two files, NAME.xml and NAME.bin. Its digest is that of the .xml, whose
manifest holds the SHA-256 of the .bin, so it covers both. A TensorRT engine has no room for a
manifest, which lies beside it (see `engines.tensorrt.engine_file`).
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import json
import platform
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from detkit.artifact.embedded import embedded_text, sidecar_of
from detkit.artifact.licence import WeightsOrigin
from detkit.artifact.seal import is_sealed, new_token, put, seal
from detkit.artifact.writing import atomic_path, sync_files
from detkit.core.errors import ArtifactError, UsageError
from detkit.core.json_text import parse_json
from detkit.core.paths import StrPath
from detkit.core.reading import open_file
from detkit.core.serialization import from_json, to_json, to_plain
from detkit.core.version import VERSION
from detkit.spec.arch import ArchSpec, check_image_size
from detkit.spec.class_scope import ALL_CLASSES, ClassScope
from detkit.spec.preprocess import Preprocess
from detkit.spec.quant import QuantSpec

SCHEMA_VERSION = 3  # since 2: licence, weights_source, weights_dtype; 3: score_thresholds,
# class_scope
METADATA_KEY = "detkit"
WEIGHTS_DTYPES = ("float32", "float16")


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
class Signature:
    """How a detector is fed and how its outputs are read, whichever tool made it.

    `kind` is checkpoint, onnx, openvino, tensorrt or tensorrt-rtx; `form` is training (branches),
    deployed (fused), nms (boxes already suppressed) or nms-flat (those of a batch as rows). `data`
    is the COCO folder it was trained on, where verbs look for real images to compare with; it may
    be gone. `score_thresholds` are the least scores, one a class, of detections to act on: those of
    the best F1 in validation; none are there where that was not measured.
    """

    kind: str
    form: str = "training"
    precision: str = "fp32"
    class_names: tuple[str, ...]
    preprocess: Preprocess
    inputs: tuple[TensorInfo, ...] = ()
    outputs: tuple[TensorInfo, ...] = ()
    data: str = ""
    class_scope: ClassScope = ALL_CLASSES
    score_thresholds: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Manifest(Signature):
    """The self-description inside every artifact of detkit's own.

    `quant` is there where `precision` is int8. `licence` is that of the weights, an SPDX expression
    or free text; `weights_source` says where they, or those they started from, come from; "" is not
    stated. `weights_dtype` is how a checkpoint keeps its kernels; they are computed in `precision`.
    """

    schema_version: int = SCHEMA_VERSION
    arch: ArchSpec
    quant: QuantSpec | None = None
    parents: tuple[Parent, ...] = ()
    command: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    licence: str = ""
    weights_source: str = ""
    weights_dtype: str = "float32"
    weights_sha256: str = ""  # of the .bin beside an .xml
    digest: str = ""

    def __post_init__(self) -> None:
        if len(self.class_names) != self.arch.num_classes:
            raise UsageError(
                f"manifest: {len(self.class_names)} class names for {self.arch.num_classes} classes"
            )
        if len(self.score_thresholds) not in (0, self.arch.num_classes):
            raise UsageError(
                f"manifest: {len(self.score_thresholds)} score thresholds for"
                f" {self.arch.num_classes} classes"
            )
        check_image_size(self.preprocess.size)
        if not self.preprocess.is_native:
            raise UsageError("manifest: inputs are letterboxed RGB scaled by 1/255, nothing else")
        if self.weights_dtype not in WEIGHTS_DTYPES:
            raise UsageError(f"manifest: unknown weights_dtype '{self.weights_dtype}'")

    @property
    def origin(self) -> WeightsOrigin:
        """The licence and the source of the weights, as children inherit them."""
        return WeightsOrigin(licence=self.licence, source=self.weights_source)


def versions(*packages: str) -> dict[str, str]:
    """The installed versions of detkit, Python and `packages`, without importing them."""
    found = {"detkit": VERSION, "python": platform.python_version()}
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def command_line(verb: str) -> str:
    """The command line of this process if it is detkit's; else the verb."""
    program, *args = sys.argv or [""]
    return shlex.join(["detkit", *args]) if Path(program).name == "detkit" else verb


def sha256_of(path: Path) -> str:
    """SHA-256 of the file's bytes in hex digits."""
    digest = hashlib.sha256()
    with open_file(path) as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def parent_of(path: Path) -> Parent:
    return Parent(name=path.name, sha256=sha256_of(path))


# --- reading -------------------------------------------------------------------------------------


def read_manifest(path: StrPath, *, verify: bool = True) -> Manifest:
    """The manifest inside a detkit checkpoint, ONNX or OpenVINO file.

    >>> manifest = read_manifest("best.onnx")
    >>> manifest.kind, manifest.precision
    ('onnx', 'fp32')

    Raises:
        ArtifactError: missing, not a detkit artifact, of a newer schema, or damaged.
    """
    path = Path(path)
    text = embedded_text(path, METADATA_KEY)
    try:
        newer = parse_json(text).get("schema_version", 0) > SCHEMA_VERSION
        manifest = None if newer else from_json(Manifest, text, where=path.name)
    except (UsageError, ValueError, AttributeError, TypeError, RecursionError) as error:
        raise ArtifactError(f"{path}: unreadable manifest: {error}") from error
    if manifest is None:
        raise ArtifactError(f"{path} was made by a newer detkit", hint="upgrade detkit")
    if verify:
        _verify(path, manifest)
    return manifest


def _verify(path: Path, manifest: Manifest) -> None:
    beside = path.suffix == ".engine"  # the manifest, and so the digest, is in another file
    if not (sha256_of(path) == manifest.digest if beside else is_sealed(path, manifest.digest)):
        raise ArtifactError(
            f"{path} is damaged: its content does not match its digest",
            hint="copy or make it again",
        )
    for weights in files_of(path)[1:] if path.suffix == ".xml" else ():
        if not weights.is_file():
            raise ArtifactError(
                f"{path}: its weights are missing: no such file: {weights}",
                hint="the two files belong together: copy both",
            )
        if sha256_of(weights) != manifest.weights_sha256:
            raise ArtifactError(
                f"{weights} is damaged, or was not made with {path.name}: its content does not"
                " match",
                hint="copy both files or make them again",
            )


def files_of(path: Path) -> tuple[Path, ...]:
    """Every file the artifact called `path` consists of, itself first."""
    if path.suffix == ".xml":
        return path, path.with_suffix(".bin")
    return (path, sidecar_of(path)) if path.suffix == ".engine" else (path,)


def size_of(path: Path) -> int:
    """Bytes on disk, of all the artifact's files."""
    return sum(file.stat().st_size for file in files_of(path))


# --- writing -------------------------------------------------------------------------------------


def write_artifact(
    path: Path, manifest: Manifest, write_file: Callable[[Path, str], None]
) -> Manifest:
    """Writes an artifact atomically and seals it with its digest.

    `write_file(partial_path, manifest_json)` writes the payload with the manifest in its metadata.
    Returns the manifest with the digest it was sealed with.
    """
    manifest = dataclasses.replace(manifest, schema_version=SCHEMA_VERSION)
    token = new_token()
    with atomic_path(path) as partial:
        write_file(partial, to_json(dataclasses.replace(manifest, digest=token), indent=None))
        digest = seal(partial, token)
    return dataclasses.replace(manifest, digest=digest)


def write_pair(
    path: Path, manifest: Manifest, write_files: Callable[[Path, Path, str], None]
) -> Manifest:
    """Writes NAME.xml and its NAME.bin, sealed by one digest; old files stay whole until the end.

    `write_files(partial_xml, partial_bin, manifest_json)` is as in `write_artifact`; the JSON is
    ASCII, since XML has no way to write some characters.

    No file system renames two files at once, so what is promised is that a mixture is never taken
    for a model. Both files are complete and on disk before the first rename; then the .bin gets its
    name, and at once the .xml. A kill before leaves the old pair, a kill after the new one. Between
    them lies the new .bin beside the old .xml, or beside none: the old .xml names the SHA-256 of
    the old .bin and is refused, unless both have the same weights and nothing is mixed. The same
    holds for renames that a power cut lets through in the other order.
    """
    manifest = dataclasses.replace(manifest, schema_version=SCHEMA_VERSION)
    token, weights_token = new_token(), new_token()
    unsealed = dataclasses.replace(manifest, weights_sha256=weights_token, digest=token)
    with atomic_path(path) as partial, atomic_path(path.with_suffix(".bin")) as partial_weights:
        write_files(partial, partial_weights, json.dumps(to_plain(unsealed), allow_nan=False))
        weights_sha256 = sha256_of(partial_weights)
        put(partial, weights_sha256, weights_token)
        digest = seal(partial, token)
        sync_files((partial,))  # nothing slow is left for the time between the renames
    return dataclasses.replace(manifest, weights_sha256=weights_sha256, digest=digest)
