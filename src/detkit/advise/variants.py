"""The forms of a checkpoint that engines of this machine can run, opened in a temporary folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from detkit.artifact.artifact import size_of
from detkit.core.errors import BackendError
from detkit.engines.coverage import ENGINES
from detkit.engines.opening import open_session
from detkit.engines.tensorrt.build_machine import PACKAGES, load, machine_here
from detkit.engines.torch.session import TorchSession
from detkit.export import ExportOptions, load_exporter
from detkit.nn.checkpoint import save_checkpoint
from detkit.nn.quantization.quantized import QuantizedDetector
from detkit.quantize.graph_scorer import Draft, Rig
from detkit.quantize.request import Parent
from detkit.quantize.result import make_manifest
from detkit.runtime.session import Placement
from detkit.untrained import REASONS

MAX_BATCH = 8  # of an engine, as images are scored


@dataclass(frozen=True, kw_only=True)
class Opened:
    """One form, ready to run."""

    runtime: str
    precision: str
    draft: Draft


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What forms are made from."""

    checkpoint: Path
    parent: Parent
    int8: QuantizedDetector
    rig: Rig
    folder: Path  # temporary


def open_forms(
    bench: Bench, tell: Callable[[str], None]
) -> tuple[tuple[Opened, ...], dict[str, str]]:
    """Every form that runs here, torch in float first; and of the others why not."""
    absent = {f"{runtime} {precision}": why for (runtime, precision), why in REASONS.items()}
    found = [_in_torch(bench)]
    for runtime in ENGINES:
        if find_spec(runtime) is None:
            absent[runtime] = "not installed"
            continue
        tell(f"making fp32 and int8 for {runtime}")
        found += _on_cpu(bench, runtime)
    for library in PACKAGES:
        try:
            machine_here(library, load(library))
            tell(f"building fp32, fp16 and int8 engines of {library}")
            found += _engines(bench, library)
        except BackendError as error:
            absent[library] = str(error)
    return tuple(found), absent


def _in_torch(bench: Bench) -> Opened:
    placement = Placement(threads=bench.rig.threads)
    session = TorchSession(bench.parent.model, bench.parent.manifest, placement)
    return Opened(runtime="torch", precision="fp32", draft=Draft(bench.checkpoint, session))


def _on_cpu(bench: Bench, runtime: str) -> Iterator[Opened]:
    yield Opened(runtime=runtime, precision="fp32", draft=bench.rig.float_draft(runtime))
    yield Opened(runtime=runtime, precision="int8", draft=bench.rig.draft(bench.int8, runtime))


def _engines(bench: Bench, library: str) -> Iterator[Opened]:
    """By the exporter itself, so that what is timed is what would be shipped."""
    int8 = bench.folder / "int8.safetensors"
    save_checkpoint(
        int8, bench.int8, make_manifest(bench.int8, bench.parent, bench.checkpoint, None)
    )
    export = load_exporter(library)
    for precision, source in (
        ("fp32", bench.checkpoint),
        ("fp16", bench.checkpoint),
        ("int8", int8),
    ):
        path = bench.folder / f"{library}-{precision}.engine"
        options = ExportOptions(
            half=precision != "fp32", engine="tensorrt", batches=(1, 1, MAX_BATCH)
        )
        export(source, path, options)
        session = open_session(path, placement=Placement(device="cuda"))
        yield Opened(runtime=library, precision=precision, draft=Draft(path, session))


def size(opened: Opened) -> int:
    return size_of(opened.draft.path)
