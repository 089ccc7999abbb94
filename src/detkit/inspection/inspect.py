"""What a file is: artifact, report, architecture or run folder. Neither torch nor numpy needed."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from detkit.artifact.artifact import Manifest, files_of, read_manifest, sha256_of, size_of
from detkit.artifact.embedded import sidecar_of
from detkit.core.errors import ArtifactError, NoManifestError
from detkit.core.reading import bytes_of, require_file
from detkit.inspection.other_files import (
    Listing,
    is_labelled_folder,
    is_search_folder,
    read_doubtful_list,
    read_journal,
    read_search_folder,
    read_settings,
)
from detkit.inspection.run_folder import (
    JsonContent,
    TrainingRun,
    is_results_table,
    read_json_file,
    read_metrics,
    read_results_table,
    read_run_folder,
)
from detkit.onnx_signature.fitting import fitting_presets
from detkit.onnx_signature.onnx_graph import OnnxGraph, read_graph

OTHER_TOOLS_ONNX = "onnx of another tool"
ENGINE_SIDECAR = ".engine.json"


@dataclass(frozen=True, kw_only=True)
class FileInfo:
    """What a file or folder is: `kind` names what `content` is, or is `OTHER_TOOLS_ONNX`.

    `sha256` is as `sha256sum` prints it, to compare with the parents of other files; it is empty
    for a folder. An artifact's own digest has been verified, and `bytes` counts all its `files`, of
    which `file` is the one that verbs take. `machine` is what an engine is for; `presets` are those
    of `--outputs` that fit the graph of another tool.
    """

    schema_version: int = 1
    file: str
    kind: str
    bytes: int
    sha256: str
    content: Manifest | OnnxGraph | JsonContent | TrainingRun
    files: tuple[str, ...] = ()
    machine: dict[str, str] = field(default_factory=dict)
    presets: tuple[str, ...] = ()


def inspect_file(path: Path) -> FileInfo:
    """Reads and checks what detkit knows about `path`, or about the artifact that it is a part of.

    Raises:
        ArtifactError: missing, damaged, or not known; the hint says what to do then.
    """
    if path.is_dir() and is_search_folder(path):
        return _whole_folder(path, "search folder", read_search_folder(path))
    if path.is_dir() and is_labelled_folder(path):
        return _whole_folder(path, "labelled folder", read_json_file(path / "report.json")[1])
    if path.is_dir():
        run = read_run_folder(path)
        total = sum((path / name).stat().st_size for name in run.files)
        return FileInfo(file=str(path), kind="run folder", bytes=total, sha256="", content=run)
    require_file(path)
    path = _main_file(path)
    kind, content = _read(path)
    return FileInfo(
        file=str(path),
        kind=kind,
        bytes=size_of(path),
        sha256=sha256_of(path),
        content=content,
        files=tuple(map(str, files_of(path))),
        machine=_machine(path) if path.suffix == ".engine" else {},
        presets=fitting_presets(content) if isinstance(content, OnnxGraph) else (),
    )


def _whole_folder(path: Path, kind: str, content: JsonContent) -> FileInfo:
    """A folder with all that is below it."""
    files = [child for child in path.rglob("*") if child.is_file()]
    size = sum(child.stat().st_size for child in files)
    return FileInfo(file=str(path), kind=kind, bytes=size, sha256="", content=content)


def _main_file(path: Path) -> Path:
    """The main file of an artifact: NAME.engine of a sidecar, NAME.xml of weights."""
    if path.name.endswith(ENGINE_SIDECAR):
        engine = path.with_suffix("")
        if not engine.is_file():
            raise ArtifactError(
                f"{path} belongs to {engine}, which is not here", hint="copy both files together"
            )
        return engine
    network = path.with_suffix(".xml")
    return network if path.suffix == ".bin" and network.is_file() else path


def _read(path: Path) -> tuple[str, Manifest | OnnxGraph | JsonContent]:
    if path.suffix == ".json":
        return read_json_file(path)
    if path.suffix == ".jsonl":
        epochs = read_metrics(path)
        facts = {"epochs": str(len(epochs)), "run folder": str(path.parent)}
        return "metrics of a run", Listing(facts=facts)
    if path.suffix == ".toml":
        return "settings", read_settings(path)
    if path.suffix == ".csv" and is_results_table(path):
        return "results of a run", read_results_table(path)
    if path.suffix == ".csv":
        return "list of doubtful images", read_doubtful_list(path)
    if path.suffix == ".sqlite":
        return "search journal", read_journal(path)
    try:
        manifest = read_manifest(path)
    except NoManifestError:
        return OTHER_TOOLS_ONNX, read_graph(path)
    return manifest.kind, manifest


def _machine(engine: Path) -> dict[str, str]:
    """The machine named in the sidecar, whose manifest has been verified."""
    plain = json.loads(bytes_of(sidecar_of(engine))).get("machine")
    return {str(k): str(v) for k, v in plain.items() if v} if isinstance(plain, dict) else {}
