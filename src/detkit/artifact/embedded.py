"""Where an artifact keeps its manifest: the metadata of a safetensors, ONNX or OpenVINO file.

What lives here: finding one text in a file of any of these formats, without its library. What the
text means is in `artifact`. Files may come from anyone, so nothing here trusts a length or a depth.
"""

from __future__ import annotations

import json
import xml.parsers.expat
from pathlib import Path

from detkit.artifact.other_tools import export_hint
from detkit.core.content_digest import check_seal
from detkit.core.errors import ArtifactError, NoManifestError
from detkit.core.json_text import parse_json
from detkit.core.memory import available_memory
from detkit.core.protobuf import read_fields
from detkit.core.reading import bytes_of, open_file, require_file

MAX_HEADER_BYTES = 100_000_000  # as the safetensors format caps its header; of an XML file, too


def embedded_text(path: Path, key: str) -> str:
    """The text that the file's metadata holds under `key`.

    Raises:
        ArtifactError: of another format, damaged, or without this key.
    """
    check_readable(path)
    with open_file(path) as file:
        head = file.read(8)
    if path.suffix == ".safetensors":
        text = _safetensors_metadata(path, key)
    elif path.suffix == ".onnx":
        text = _onnx_metadata(path, key)
    elif path.suffix == ".xml":
        text = _openvino_metadata(path, key)
    elif path.suffix == ".engine":
        text = _sidecar_manifest(path)
    elif head[:2] == b"PK" or path.suffix in (".pth", ".pt", ".ckpt"):
        raise ArtifactError(
            f"{path} is a checkpoint of another tool",
            hint=export_hint(path) or f"detkit import {path} -o model.safetensors",
        )
    else:
        network = path.with_suffix(".xml")
        raise ArtifactError(
            f"{path} is not a detkit artifact (.safetensors, .onnx, .xml or .engine)",
            hint=f"it may be the weights of {network}" if network.is_file() else "",
        )
    if text is None:
        kind = NoManifestError if path.suffix == ".onnx" else ArtifactError
        raise kind(f"{path} carries no detkit manifest: another tool made it")
    return text


def check_readable(path: Path) -> None:
    """Raises ArtifactError for a path that is no file, or an empty or too large one."""
    if path.is_dir():
        raise ArtifactError(f"{path} is a folder, not a model")
    require_file(path)
    size = path.stat().st_size
    if size == 0:
        raise ArtifactError(f"{path} is empty")
    available = available_memory()
    if 0 < available < size:
        raise ArtifactError(
            f"{path} has {size / 1e9:.1f} GB, and there are {available / 1e9:.1f} GB of memory"
        )


def _safetensors_metadata(path: Path, key: str) -> str | None:
    with open_file(path) as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(MAX_HEADER_BYTES, path.stat().st_size - 8):
            raise ArtifactError(f"{path} is not a safetensors file, or is cut short")
        raw = file.read(length)
    try:
        text = json.loads(raw).get("__metadata__", {}).get(key)
    except (ValueError, AttributeError, RecursionError) as error:
        raise ArtifactError(f"{path}: the safetensors header is damaged") from error
    return text if isinstance(text, str) else None


def _onnx_metadata(path: Path, key: str) -> str | None:
    """Walks the protobuf fields of ModelProto; metadata_props is field 14 (onnx.proto3)."""
    data, has_graph = bytes_of(path), False
    try:
        for number, value in read_fields(data):
            has_graph = has_graph or (number == 7 and isinstance(value, memoryview))
            if number == 14 and isinstance(value, memoryview):
                entry = {n: bytes(v) for n, v in read_fields(value) if not isinstance(v, int)}
                if entry.get(1) == key.encode():
                    return entry[2].decode()
    except (IndexError, ValueError, KeyError) as error:
        raise ArtifactError(f"{path} is not an ONNX file, or is cut short") from error
    if not has_graph:
        raise ArtifactError(f"{path} is not an ONNX file: it holds no graph")
    return None


def _openvino_metadata(path: Path, key: str) -> str | None:
    """The `value` of net/rt_info/KEY. A DOCTYPE, and so any entity, is refused."""
    elements: list[str] = []
    found: list[str] = []

    def enter(name: str, attributes: dict[str, str]) -> None:
        elements.append(name)
        if elements == ["net", "rt_info", key] and "value" in attributes:
            found.append(attributes["value"])

    def refuse(*_: object) -> None:
        raise ArtifactError(f"{path} has a DOCTYPE, which no OpenVINO file needs")

    if path.stat().st_size > MAX_HEADER_BYTES:
        raise ArtifactError(f"{path} is too large to be the description of a network")
    parser = xml.parsers.expat.ParserCreate("utf-8")
    parser.StartElementHandler = enter
    parser.EndElementHandler = lambda _: elements.pop()
    parser.StartDoctypeDeclHandler = refuse
    try:
        with open_file(path) as file:
            parser.ParseFile(file)
    except xml.parsers.expat.ExpatError as error:
        raise ArtifactError(f"{path} is not an OpenVINO file, or is cut short") from error
    return found[0] if found else None


def sidecar_of(path: Path) -> Path:
    """The file beside one whose format has no room for a manifest."""
    return path.with_name(f"{path.name}.json")


def _sidecar_manifest(path: Path) -> str:
    sidecar = sidecar_of(path)
    try:
        plain = parse_json(bytes_of(sidecar))
        check_seal(plain, str(sidecar))
        return json.dumps(plain["manifest"])
    except FileNotFoundError as error:
        raise ArtifactError(
            f"{path} has no {sidecar.name} beside it", hint="copy both files together"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{sidecar} is damaged: {error!r}") from error
