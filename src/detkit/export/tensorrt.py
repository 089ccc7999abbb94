"""Checkpoint -> TensorRT engine: exported to ONNX, checked, given its precision, built here.

The engine runs on the machine that built it. TensorRT-RTX builds without a GPU, so that a graph can
be tried by a real parser and builder anywhere; only a run on a GPU says that the result is right.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto

from detkit.artifact import Manifest, atomic_path, read_manifest
from detkit.data.samples import comparison_pictures
from detkit.data.verify import cache_folder
from detkit.errors import ArtifactError, BackendError, GateError, UsageError, did_you_mean
from detkit.export import ExportOptions
from detkit.export.engine_plan import EnginePlan, timing_cache_name
from detkit.export.half import to_half
from detkit.export.onnx import NUM_PICTURES
from detkit.export.onnx import export as export_onnx
from detkit.export.tensorrt_rules import lint
from detkit.report import ConversionReport, Difference
from detkit.runtime import Placement, open_session
from detkit.runtime.compare import compare
from detkit.runtime.engine_file import EngineRecord, write_engine
from detkit.runtime.target import RTX, Target, build_target, load
from detkit.runtime.trt_api import build

PRECISIONS: dict[str, Callable[[ModelProto], ModelProto]] = {
    "fp32": lambda graph: graph,
    "fp16": to_half,
}
# Score and pixels over all anchors: a graph that lost its meaning, not one that lost digits. A
# trained yolo-nas-n strays in FP16 by 0.010 and 5.9 px, of boxes with a score above 0.25 by 0.5 px
# (BCCD, 320 px, every tensor rounded).
LIMITS = {"fp32": (1e-3, 0.5), "fp16": (0.05, 32.0)}


@dataclass(frozen=True, kw_only=True)
class BuiltEngine:
    """An engine in memory, whom it is for, and the sizes it takes."""

    engine: bytes
    target: Target
    plan: EnginePlan
    graph_sha256: str
    layers: int


def export(checkpoint: Path, out: Path, options: ExportOptions) -> ConversionReport:
    """Writes an engine of TensorRT and its sidecar; see `_export`."""
    return _export("tensorrt", checkpoint, out, options)


def export_rtx(checkpoint: Path, out: Path, options: ExportOptions) -> ConversionReport:
    """The same of TensorRT-RTX."""
    return _export(RTX, checkpoint, out, options)


def build_engine(graph: ModelProto, library: str, plan: EnginePlan) -> BuiltEngine:
    """Builds any graph of float or INT8 Q/DQ as its types say.

    Raises:
        BackendError: the library is not here, or the GPU that TensorRT needs.
        ArtifactError: the graph breaks a rule (see `tensorrt_rules`), or is refused.
    """
    trt = load(library)
    target = build_target(library, trt)
    if faults := lint(graph):
        raise ArtifactError("TensorRT cannot run this graph: " + "; ".join(faults[:3]))
    data = graph.SerializeToString()
    cache = _timing_cache(target)
    built = build(
        trt,
        data,
        profile=plan.profile(graph),
        flags=plan.flags,
        level=plan.level,
        timing_cache=None if cache is None else _read(cache),
    )
    if cache is not None:
        with atomic_path(cache) as partial:
            partial.write_bytes(built.timing_cache)
    return BuiltEngine(
        engine=built.engine,
        target=target,
        plan=plan,
        graph_sha256=hashlib.sha256(data).hexdigest(),
        layers=built.layers,
    )


def _timing_cache(target: Target) -> Path | None:
    """Where the times of kernels are kept; TensorRT-RTX takes none."""
    folder = cache_folder()
    if folder is None or target.library == RTX:
        return None
    return folder / "tensorrt" / timing_cache_name(target)


def _read(cache: Path) -> bytes:
    return cache.read_bytes() if cache.is_file() else b""


# --- from a checkpoint ---------------------------------------------------------------------------


def _export(library: str, checkpoint: Path, out: Path, options: ExportOptions) -> ConversionReport:
    """Builds, compares with torch where a GPU can run the engine, and writes both files.

    Raises:
        BackendError: the library is not here, or the GPU that TensorRT needs.
        UsageError: NMS in the graph, or a name that does not end in .engine.
        GateError: the engine strays too far from the checkpoint; nothing is written.
    """
    if options.nms:
        raise UsageError("--nms is not for TensorRT: detkit suppresses what an engine gives")
    if out.suffix != ".engine":
        raise UsageError(f"{out}: the name of an engine ends in .engine")
    if options.precision not in PRECISIONS:
        raise UsageError(
            f"unknown precision '{options.precision}'",
            hint=did_you_mean(options.precision, PRECISIONS),
        )
    plan = EnginePlan(batches=options.batches)
    build_target(library, load(library))  # before minutes of work, not after
    with tempfile.TemporaryDirectory(prefix="detkit-") as name:
        draft = Path(name) / "draft.onnx"
        report = export_onnx(checkpoint, draft, dataclasses.replace(options, precision="fp32"))
        graph = PRECISIONS[options.precision](_without_manifest(draft))
        built = build_engine(graph, library, plan)
        manifest = _manifest(read_manifest(draft), built, options.precision)
        trial = Path(name) / "trial.engine"
        write_engine(trial, built.engine, _record(built, manifest))
        difference = _difference(checkpoint, trial, manifest, options)
    write_engine(out, built.engine, _record(built, _measured(manifest, difference)))
    return dataclasses.replace(
        report,
        file=str(out),
        bytes=out.stat().st_size,
        difference=difference,
        notes=_notes(built, options, difference),
    )


def _without_manifest(path: Path) -> ModelProto:
    """The graph alone: its digest shall not depend on when and how it was exported."""
    graph = onnx.load(path)
    del graph.metadata_props[:]
    return graph


def _manifest(draft: Manifest, built: BuiltEngine, precision: str) -> Manifest:
    """That of the ONNX draft, without the figures that do not hold for the engine."""
    target = built.target
    return dataclasses.replace(
        draft,
        kind=target.library,
        precision=precision,
        versions={**draft.versions, target.library: target.version},
        metrics={k: v for k, v in draft.metrics.items() if not k.startswith("difference_")},
    )


def _record(built: BuiltEngine, manifest: Manifest) -> EngineRecord:
    return EngineRecord(
        manifest=manifest,
        target=built.target,
        batches=built.plan.batches,
        graph_sha256=built.graph_sha256,
    )


def _difference(
    checkpoint: Path, engine: Path, manifest: Manifest, options: ExportOptions
) -> Difference | None:
    """How far the engine strays from torch on pictures; None where no GPU can run it."""
    try:
        session = open_session(engine, placement=Placement(device="cuda"))
    except BackendError:
        if manifest.kind == RTX:
            return None
        raise
    images, source = comparison_pictures(
        options.data or "", manifest.preprocess, NUM_PICTURES, recorded=manifest.data
    )
    batch = options.batches[2]
    count = math.ceil(len(images) / batch) * batch  # an engine may refuse a smaller batch
    images = np.resize(images, (count, *images.shape[1:]))
    reference = open_session(checkpoint)
    found = compare(reference, session, images, source=source, batch_size=batch)
    score, box_px = LIMITS[options.precision]
    if found.score > score or found.box_px > box_px:
        raise GateError(
            f"the engine differs from torch by {found.score:.1e} of a score and {found.box_px:.3g}"
            f" px on {found.images} pictures ({source}); allowed are {score:g} and {box_px:g} px"
        )
    return found


def _measured(manifest: Manifest, found: Difference | None) -> Manifest:
    if found is None:
        return manifest
    figures = {"difference_score": found.score, "difference_box_px": found.box_px}
    return dataclasses.replace(manifest, metrics={**manifest.metrics, **figures})


def _notes(
    built: BuiltEngine, options: ExportOptions, difference: Difference | None
) -> dict[str, str]:
    target = built.target
    notes = {
        "engine": f"{target.library} {target.version}, {options.precision}, {built.layers} layers",
        "batches": ":".join(map(str, built.plan.batches)),
        "for": f"{target.gpu} (sm {target.compute_capability})" if target.gpu else "any GPU",
    }
    if difference is None:
        notes["not_run"] = "there is no GPU here to run the engine on: only its build was checked"
    return notes
