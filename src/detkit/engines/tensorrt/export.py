"""Checkpoint -> TensorRT engine: exported to ONNX, checked, given its precision, built here.

The engine runs on the machine that built it. TensorRT-RTX builds without a GPU, so that a graph can
be tried by a real parser and builder anywhere; only a run on a GPU says that the result is right.
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto

from detkit.artifact.artifact import Manifest, read_manifest, size_of
from detkit.artifact.cache import cache_folder
from detkit.artifact.writing import temporary_folder, write_bytes
from detkit.core.boxes import Array
from detkit.core.errors import ArtifactError, BackendError, UsageError
from detkit.core.reading import bytes_of
from detkit.data.comparison_images import comparison_images
from detkit.engines.convert import (
    NUM_IMAGES,
    FileFormat,
    Tolerance,
    check_tolerance,
    convert_checkpoint,
)
from detkit.engines.exporting import ExportOptions
from detkit.engines.int8_checks import check_rounding
from detkit.engines.opening import open_session
from detkit.engines.tensorrt.api import run_builder
from detkit.engines.tensorrt.build_machine import RTX, Machine, build_machine, import_library
from detkit.engines.tensorrt.engine_file import EngineSidecar, read_sidecar, write_engine
from detkit.engines.tensorrt.plan import EnginePlan, timing_cache_name
from detkit.engines.tensorrt.rules import lint
from detkit.engines.torch.session import TorchSession
from detkit.export.graph import write_onnx
from detkit.export.half import to_half
from detkit.nn.checkpoint import load_checkpoint
from detkit.nn.quantization.quantized import QuantizedDetector
from detkit.report import ConversionReport, Difference
from detkit.runtime.comparison import compare_raw
from detkit.runtime.session import Session, SessionOptions

# A run in FP32 sums in another order than torch; FP16 moves a trained yolo-nas-n, with every tensor
# rounded, by 0.010 of a score and 0.5 px of a box that is seen (BCCD, 320 px).
FLOAT_TOLERANCE = Tolerance(score=1e-3, box_px=0.5, least_score=0.25)
HALF_TOLERANCE = Tolerance(score=5e-2, box_px=8.0, least_score=0.25)

WITHOUT_NMS = {
    "tensorrt": "TensorRT's NMS has not been tried by detkit, and its plug-in is gone since 10.16",
    RTX: "TensorRT-RTX reads ONNX's NonMaxSuppression and has nothing to build it with",
}


@dataclass(frozen=True, kw_only=True)
class BuiltEngine:
    """An engine in memory, with the machine it is for and the batch sizes it takes."""

    engine: bytes
    machine: Machine
    plan: EnginePlan
    graph_sha256: str
    layers: int


def export(checkpoint: Path, out: Path, options: ExportOptions) -> ConversionReport:
    """Writes an engine of TensorRT and its sidecar; see `_export`."""
    return _export("tensorrt", checkpoint, out, options)


def export_rtx(checkpoint: Path, out: Path, options: ExportOptions) -> ConversionReport:
    """Writes an engine of TensorRT-RTX and its sidecar; see `_export`."""
    return _export(RTX, checkpoint, out, options)


def write_untrained(graph: ModelProto, manifest: Manifest, path: Path, library: str) -> Manifest:
    """Writes an engine of any graph, for one image a run; see `engines.engine.Engine` (`build`)."""
    built = build_engine(graph, library, EnginePlan(batches=(1, 1, 1)))
    sidecar = make_sidecar(built, manifest, half=manifest.precision == "fp16")
    write_engine(path, built.engine, sidecar)
    return read_sidecar(path).manifest


def build_engine(graph: ModelProto, library: str, plan: EnginePlan) -> BuiltEngine:
    """Builds an engine of a float or INT8 Q/DQ graph, whose types say its precision.

    Raises:
        BackendError: the library is not here, or the GPU that TensorRT needs.
        ArtifactError: the graph breaks a rule (see `engines.tensorrt.rules`), or is refused.
    """
    trt = import_library(library)
    machine = build_machine(library, trt)
    if faults := lint(graph):
        raise ArtifactError("TensorRT cannot run this graph: " + "; ".join(faults[:3]))
    data = graph.SerializeToString()
    cache = _timing_cache(machine)
    built = run_builder(
        trt,
        data,
        profile=plan.profile(graph),
        flags=plan.flags,
        level=plan.level,
        timing_cache=None if cache is None else _read(cache),
    )
    if cache is not None:
        write_bytes(cache, built.timing_cache)
    return BuiltEngine(
        engine=built.engine,
        machine=machine,
        plan=plan,
        graph_sha256=hashlib.sha256(data).hexdigest(),
        layers=built.layers,
    )


def _timing_cache(machine: Machine) -> Path | None:
    """The file that keeps the times of kernels; None for TensorRT-RTX, which takes none."""
    folder = cache_folder()
    if folder is None or machine.library == RTX:
        return None
    return folder / "tensorrt" / timing_cache_name(machine)


def _read(cache: Path) -> bytes:
    return bytes_of(cache) if cache.is_file() else b""


# --- from a checkpoint ---------------------------------------------------------------------------


def _export(library: str, checkpoint: Path, out: Path, options: ExportOptions) -> ConversionReport:
    """Builds, compares with torch where a GPU can run the engine, and writes both files.

    The ONNX graph that the engine is built from has been compared with torch before, in any case.

    Raises:
        BackendError: the library is not here, or the GPU that TensorRT needs.
        UsageError: NMS in the graph.
        GateError: the graph or the engine strays too far from the checkpoint; nothing is written.
    """
    if options.nms:
        raise UsageError(
            f"--nms is not for engines: {WITHOUT_NMS[library]}",
            hint="export without it: bench, eval and predict suppress what the engine gives",
        )
    plan = EnginePlan(batches=options.batches)
    build_machine(library, import_library(library))  # before minutes of work, not after
    with temporary_folder() as folder:
        onnx_path, engine_path = folder / "graph.onnx", folder / "trial.engine"
        report = convert_checkpoint(
            checkpoint, onnx_path, options, FileFormat(suffix=".onnx", write=write_onnx)
        )
        graph = _without_manifest(onnx_path)
        built = build_engine(to_half(graph) if options.half else graph, library, plan)
        sidecar = make_sidecar(built, read_manifest(onnx_path), half=options.half)
        write_engine(engine_path, built.engine, sidecar)
        difference = _difference(checkpoint, engine_path, sidecar.manifest, options)
    measured = _measured(sidecar.manifest, difference)
    write_engine(out, built.engine, dataclasses.replace(sidecar, manifest=measured))
    return dataclasses.replace(
        report,
        file=str(out),
        bytes=size_of(out),
        difference=difference,
        notes=_notes(built, options, report.difference, difference),
    )


def _without_manifest(path: Path) -> ModelProto:
    """The graph without its manifest, so that its digest depends on nothing but the graph."""
    graph = onnx.load(path)
    del graph.metadata_props[:]
    return graph


def make_sidecar(built: BuiltEngine, exported: Manifest, *, half: bool) -> EngineSidecar:
    """The sidecar of an engine that was built from an exported graph.

    Its manifest is that graph's, without the figures that do not hold for the engine.
    """
    machine = built.machine
    manifest = dataclasses.replace(
        exported,
        kind=machine.library,
        precision="fp16" if half and exported.precision == "fp32" else exported.precision,
        versions={**exported.versions, machine.library: machine.version},
        metrics={k: v for k, v in exported.metrics.items() if not k.startswith("difference_")},
    )
    return EngineSidecar(
        manifest=manifest,
        machine=machine,
        batches=built.plan.batches,
        graph_sha256=built.graph_sha256,
    )


def _difference(
    checkpoint: Path, engine: Path, manifest: Manifest, options: ExportOptions
) -> Difference | None:
    """How far the engine differs from torch on images; None where no GPU can run it.

    Raises:
        GateError: too far.
    """
    try:
        session = open_session(engine, session_options=SessionOptions(device="cuda"))
    except BackendError:
        if manifest.kind == RTX:
            return None
        raise
    session = _AnyBatch(session, options.batches)
    images, source = comparison_images(
        options.data or "", manifest.preprocess, NUM_IMAGES, recorded=manifest.data
    )
    model, _ = load_checkpoint(checkpoint)
    if isinstance(model, QuantizedDetector):
        return check_rounding(model, manifest, session, images, "tensorrt", source=source)
    tolerance = HALF_TOLERANCE if options.half else FLOAT_TOLERANCE
    reference = TorchSession(model, manifest, SessionOptions())
    least_score = tolerance.least_score
    found = compare_raw(reference, session, images, source=source, least_score=least_score)
    check_tolerance(found, tolerance)
    return found


class _AnyBatch:
    """A session fed with as many images at a time as its engine takes."""

    def __init__(self, session: Session, batches: tuple[int, int, int]) -> None:
        self.manifest, self.engine = session.manifest, session.engine
        self._session, (self._least, _, self._most) = session, batches

    def run(self, images_bchw: Array) -> tuple[Array, Array]:
        parts = []
        for start in range(0, len(images_bchw), self._most):
            part = images_bchw[start : start + self._most]
            padded = np.resize(part, (max(len(part), self._least), *part.shape[1:]))
            parts.append(tuple(out[: len(part)] for out in self._session.run(padded)))
        boxes, scores = (np.concatenate(out) for out in zip(*parts, strict=True))
        return boxes, scores


def _measured(manifest: Manifest, found: Difference | None) -> Manifest:
    if found is None:
        return manifest
    figures = {"difference_score": found.score, "difference_box_px": found.box_px}
    return dataclasses.replace(manifest, metrics={**manifest.metrics, **figures})


def _notes(
    built: BuiltEngine,
    options: ExportOptions,
    graph: Difference | None,
    difference: Difference | None,
) -> dict[str, str]:
    machine = built.machine
    notes = {
        "engine": f"{machine.library} {machine.version}, {built.layers} layers",
        "floats": "fp16, the decode fp32" if options.half else "fp32",
        "batches": ":".join(map(str, built.plan.batches)),
        "for": f"{machine.gpu} (sm {machine.compute_capability})" if machine.gpu else "any GPU",
    }
    if graph is not None:
        notes["graph"] = (
            f"{graph.score:.1e} of a score and {graph.box_px:.1e} px from torch on"
            f" {graph.images} images ({graph.source}), in ONNX Runtime with its floats in FP32"
        )
    if difference is None:
        notes["not_run"] = "there is no GPU here to run the engine on: only its build was checked"
    return notes
