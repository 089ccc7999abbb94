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
from detkit.quantize.request import FloatParent
from detkit.quantize.result import make_manifest
from detkit.runtime.session import SessionOptions

MAX_BATCH = 8  # of an engine, as images are scored


@dataclass(frozen=True, kw_only=True)
class OpenVariant:
    """A variant whose graph is open, ready to run."""

    engine: str
    precision: str
    graph: ExportedGraph


@dataclass(frozen=True, kw_only=True)
class VariantSources:
    """The checkpoint, its INT8 network and the folder that variants are made from and in."""

    checkpoint: Path
    parent: FloatParent
    int8: QuantizedDetector
    scorer: GraphScorer
    folder: Path  # temporary


def open_variants(
    sources: VariantSources, log: Callable[[str], None]
) -> tuple[tuple[OpenVariant, ...], dict[str, str]]:
    """Opens every variant that runs here, torch in float first; says why others do not."""
    absent = {
        f"{engine.name} {precision}": reason
        for engine in ENGINES.values()
        for precision, reason in engine.without
    }
    found: list[OpenVariant] = []
    for engine in ENGINES.values():
        if engine.runs_checkpoints:
            found.append(_torch_variant(sources, engine))
        elif engine.build:
            found += _built_variants(sources, engine, log, absent)
        elif engine.is_installed:
            log(f"making {' and '.join(engine.precisions)} for {engine.name}")
            found += _cpu_variants(sources, engine)
        else:
            absent[engine.name] = "not installed"
    return tuple(found), absent


def _built_variants(
    sources: VariantSources, engine: Engine, log: Callable[[str], None], absent: dict[str, str]
) -> list[OpenVariant]:
    """Builds the variants of an engine that builds its files here; notes why where it cannot."""
    try:
        engine.load(engine.check)(engine.name)
        log(f"building fp32, fp16 and int8 engines of {engine.name}")
        return list(_engine_files(sources, engine))
    except BackendError as error:
        absent[engine.name] = str(error)
        return []


def _torch_variant(sources: VariantSources, engine: Engine) -> OpenVariant:
    session_options = SessionOptions(threads=sources.scorer.threads)
    session = TorchSession(sources.parent.model, sources.parent.manifest, session_options)
    return OpenVariant(
        engine=engine.name, precision="fp32", graph=ExportedGraph(sources.checkpoint, session)
    )


def _cpu_variants(sources: VariantSources, engine: Engine) -> Iterator[OpenVariant]:
    name = engine.name
    for precision in engine.precisions:
        is_int8 = precision == "int8"
        scorer = sources.scorer
        graph = scorer.export(sources.int8, name) if is_int8 else scorer.float_graph(name)
        yield OpenVariant(engine=name, precision=precision, graph=graph)


def _engine_files(sources: VariantSources, engine: Engine) -> Iterator[OpenVariant]:
    """Builds each precision by the exporter itself, so that what is timed is what is shipped."""
    int8 = sources.folder / "int8.safetensors"
    save_checkpoint(
        int8, sources.int8, make_manifest(sources.int8, sources.parent, sources.checkpoint, None)
    )
    export = load_exporter(engine.exported_as)
    for precision, source in (
        ("fp32", sources.checkpoint),
        ("fp16", sources.checkpoint),
        ("int8", int8),
    ):
        path = sources.folder / f"{engine.name}-{precision}{engine.suffix}"
        options = ExportOptions(
            half=precision != "fp32", engine=engine.int8_engine, batches=(1, 1, MAX_BATCH)
        )
        export(source, path, options)
        session = open_session(path, session_options=SessionOptions(device="cuda"))
        yield OpenVariant(
            engine=engine.name, precision=precision, graph=ExportedGraph(path, session)
        )


def size(opened: OpenVariant) -> int:
    return size_of(opened.graph.path)
