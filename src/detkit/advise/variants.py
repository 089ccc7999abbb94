"""The variants of a checkpoint that engines here can run, opened in a temporary folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from detkit.artifact.artifact import size_of
from detkit.core.errors import BackendError
from detkit.engines import ENGINES
from detkit.engines.engine import Engine
from detkit.engines.exporting import ExportOptions, load_exporter
from detkit.engines.opening import open_session
from detkit.engines.torch.session import TorchSession
from detkit.nn.checkpoint import save_checkpoint
from detkit.nn.quantization.quantized import QuantizedDetector
from detkit.quantize.graph_scorer import ExportedGraph, GraphScorer
from detkit.quantize.request import Parent
from detkit.quantize.result import make_manifest
from detkit.runtime.session import SessionOptions

MAX_BATCH = 8  # of an engine, as images are scored


@dataclass(frozen=True, kw_only=True)
class OpenVariant:
    """One variant, ready to run."""

    engine: str
    precision: str
    draft: ExportedGraph


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What variants are made from."""

    checkpoint: Path
    parent: Parent
    int8: QuantizedDetector
    rig: GraphScorer
    folder: Path  # temporary


def open_variants(
    bench: Bench, tell: Callable[[str], None]
) -> tuple[tuple[OpenVariant, ...], dict[str, str]]:
    """Every variant that runs here, torch in float first; and of the others why not."""
    absent = {
        f"{engine.name} {precision}": reason
        for engine in ENGINES.values()
        for precision, reason in engine.without
    }
    found: list[OpenVariant] = []
    for engine in ENGINES.values():
        if engine.runs_checkpoints:
            found.append(_in_torch(bench, engine))
        elif engine.build:
            found += _built(bench, engine, tell, absent)
        elif engine.is_installed:
            tell(f"making {' and '.join(engine.precisions)} for {engine.name}")
            found += _on_cpu(bench, engine)
        else:
            absent[engine.name] = "not installed"
    return tuple(found), absent


def _built(
    bench: Bench, engine: Engine, tell: Callable[[str], None], absent: dict[str, str]
) -> list[OpenVariant]:
    """The variants of an engine whose files are built here; where it cannot run, why not."""
    try:
        engine.load(engine.check)(engine.name)
        tell(f"building fp32, fp16 and int8 engines of {engine.name}")
        return list(_engines(bench, engine))
    except BackendError as error:
        absent[engine.name] = str(error)
        return []


def _in_torch(bench: Bench, engine: Engine) -> OpenVariant:
    session_options = SessionOptions(threads=bench.rig.threads)
    session = TorchSession(bench.parent.model, bench.parent.manifest, session_options)
    return OpenVariant(
        engine=engine.name, precision="fp32", draft=ExportedGraph(bench.checkpoint, session)
    )


def _on_cpu(bench: Bench, engine: Engine) -> Iterator[OpenVariant]:
    name = engine.name
    for precision in engine.precisions:
        is_int8 = precision == "int8"
        draft = bench.rig.draft(bench.int8, name) if is_int8 else bench.rig.float_draft(name)
        yield OpenVariant(engine=name, precision=precision, draft=draft)


def _engines(bench: Bench, engine: Engine) -> Iterator[OpenVariant]:
    """By the exporter itself, so that what is timed is what would be shipped."""
    int8 = bench.folder / "int8.safetensors"
    save_checkpoint(
        int8, bench.int8, make_manifest(bench.int8, bench.parent, bench.checkpoint, None)
    )
    export = load_exporter(engine.exported_as)
    for precision, source in (
        ("fp32", bench.checkpoint),
        ("fp16", bench.checkpoint),
        ("int8", int8),
    ):
        path = bench.folder / f"{engine.name}-{precision}{engine.suffix}"
        options = ExportOptions(
            half=precision != "fp32", engine=engine.int8_target, batches=(1, 1, MAX_BATCH)
        )
        export(source, path, options)
        session = open_session(path, session_options=SessionOptions(device="cuda"))
        yield OpenVariant(
            engine=engine.name, precision=precision, draft=ExportedGraph(path, session)
        )


def size(opened: OpenVariant) -> int:
    return size_of(opened.draft.path)
