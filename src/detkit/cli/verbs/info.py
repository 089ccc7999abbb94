"""`detkit info`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from detkit.cli import console
from detkit.cli.options import Json
from detkit.core.content_digest import ACCEPT_FLAG

if TYPE_CHECKING:
    from detkit.artifact.artifact import Manifest, TensorInfo
    from detkit.inspection.inspect import FileInfo
    from detkit.inspection.run_folder import TrainingRun
    from detkit.onnx_signature.onnx_graph import OnnxGraph
    from detkit.spec.arch import ArchSpec
    from detkit.spec.quant import QuantSpec

EXAMPLES = {
    "info": (
        "detkit info runs/a/best.safetensors",
        "detkit info model.onnx --json | jq -r '.content.parents[].sha256'",
    )
}
CLASSES_SHOWN = 12
TEXT_SHOWN = 80
Rows = list[tuple[str, str]]


def info(
    file: Annotated[
        Path, typer.Argument(help="A model, a report, or any file or folder that detkit wrote.")
    ],
    accept_edits: Annotated[
        bool,
        typer.Option(
            ACCEPT_FLAG, help="Take a JSON file as you edited it: its digest is made again."
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Say what a file is: its architecture, parents, figures, and how it was made.

    Knows checkpoints (.safetensors), ONNX files, OpenVINO's (.xml with its .bin), engines (.engine
    with its .engine.json), architectures, search spaces, reports and lists (.json), metrics,
    settings, journals, run folders and search folders. Content digests are verified; --accept-edits
    makes that of a JSON file again.
    Of another tool's ONNX file it lists inputs and outputs, and which --outputs fit their shapes.
    Needs neither torch nor onnx nor openvino.
    """
    from detkit.inspection.edited import accept_edits as accept
    from detkit.inspection.inspect import inspect_file

    if accept_edits:
        accept(file)
    found = inspect_file(file)
    console.emit(found, json=json, lines=describe(found))


def describe(found: FileInfo) -> list[str]:
    """Aligned lines for a terminal, the most wanted first."""
    from detkit.artifact.artifact import Manifest
    from detkit.inspection.other_files import Listing
    from detkit.inspection.run_folder import TrainingRun
    from detkit.onnx_signature.onnx_graph import OnnxGraph
    from detkit.spec.arch import ArchSpec

    content = found.content
    if isinstance(content, Manifest):
        rows = [*_manifest_rows(content), *_engine_rows(found)]
    elif isinstance(content, OnnxGraph):
        rows = _graph_rows(content, found.presets)
    elif isinstance(content, TrainingRun):
        rows = _run_rows(content)
    elif isinstance(content, ArchSpec):
        rows = _arch_rows(content)
    elif isinstance(content, Listing):
        rows = [*content.facts.items(), ("contents", ", ".join(content.files))]
    else:
        rows = _record_rows(content)
    files = [("files", ", ".join(found.files))] if len(found.files) > 1 else []
    size = [*files, ("size", f"{found.bytes / 1e6:.2f} MB")]
    sha256 = [("sha256", found.sha256)] if found.sha256 else []
    return _aligned([("file", found.file), ("kind", found.kind), *rows, *size, *sha256])


def _aligned(rows: Rows) -> list[str]:
    width = max(len(name) for name, _ in rows) + 2
    return [f"{name:<{width}}{value}" for name, value in rows if value]


# --- artifacts -----------------------------------------------------------------------------------


def _manifest_rows(manifest: Manifest) -> Rows:
    figures = dict(manifest.metrics)
    return [
        ("form", _form_text(manifest)),
        ("licence", manifest.licence or "not stated"),
        ("weights", manifest.weights_source),
        ("quantized", _quant_text(manifest.quant)),
        ("arch", f"{manifest.arch.name} (digest {manifest.arch.digest})"),
        ("input", _input_text(manifest)),
        ("classes", _class_text(manifest.class_names)),
        ("class scope", str(manifest.class_scope)),
        ("least scores", _threshold_text(manifest)),
        ("parameters", _cost(figures, "parameters", 1e6, "M")),
        ("MACs", _cost(figures, "macs", 1e9, "G")),
        ("FLOPs", _cost(figures, "flops", 1e9, "G")),
        *((name, f"{value:g}") for name, value in figures.items()),
        *((f"input {item.name}", _tensor_text(item)) for item in manifest.inputs),
        *((f"output {item.name}", _tensor_text(item)) for item in manifest.outputs),
        *(("parent", f"{item.name}  sha256 {item.sha256}") for item in manifest.parents),
        ("data", manifest.data),
        ("command", manifest.command),
        ("made with", ", ".join(f"{name} {text}" for name, text in manifest.versions.items())),
        ("digest", f"verified ({manifest.digest[:16]}...)"),
    ]


def _engine_rows(found: FileInfo) -> Rows:
    machine = found.machine
    if not machine:
        return []
    gpu = f"{machine.get('gpu')} (sm {machine.get('compute_capability')})"
    where = gpu if "gpu" in machine else "any GPU"
    return [("runs on", f"{machine.get('library')} {machine.get('version')}, {where}")]


def _graph_rows(graph: OnnxGraph, presets: tuple[str, ...]) -> Rows:
    """An ONNX file of another tool, and how verbs could take it."""
    return [
        ("precision", graph.precision),
        ("classes", _class_text(graph.class_names) if graph.class_names else ""),
        *((f"input {item.name}", _tensor_text(item)) for item in graph.inputs),
        *((f"output {item.name}", _tensor_text(item)) for item in graph.outputs),
        ("shapes fit", _fit_text(graph, presets)),
        *((f"metadata {name}", _shortened(text)) for name, text in graph.metadata.items()),
    ]


def _fit_text(graph: OnnxGraph, presets: tuple[str, ...]) -> str:
    if presets:
        return f"--outputs {' or '.join(presets)}"
    if any(isinstance(size, str) for item in graph.outputs for size in item.shape[1:]):
        return "too much is left open to tell: --outputs PRESET or FILE.json"
    return "no preset: --outputs FILE.json"


def _shortened(text: str) -> str:
    return text if len(text) <= TEXT_SHOWN else f"{text[:TEXT_SHOWN]}... (--json)"


def _form_text(manifest: Manifest) -> str:
    stored = manifest.weights_dtype
    kept = "" if stored == "float32" else f", kernels kept in {stored}"
    return f"{manifest.form}, {manifest.precision}{kept}"


def _quant_text(quant: QuantSpec | None) -> str:
    if quant is None:
        return ""
    kept = f"; in float: {', '.join(quant.float_groups)}" if quant.float_groups else ""
    return (
        f"weights {quant.weight_bits} bits, calibrator {quant.calibrator} on"
        f" {quant.calibration_images} images ({quant.calibration_digest}){kept}"
    )


def _input_text(manifest: Manifest) -> str:
    recipe = manifest.preprocess
    fit = "" if recipe.fit == recipe.size else f" (fit within {_size(recipe.fit)})"
    pad = f"padded at the {recipe.pad_place} with {recipe.pad_value}"
    return f"{_size(recipe.size)}{fit}, {pad}, {recipe.channel_order.upper()} 0..1"


def _class_text(names: tuple[str, ...]) -> str:
    rest = len(names) - CLASSES_SHOWN
    more = f", and {rest} more (--json)" if rest > 0 else ""
    return f"{len(names)}: {', '.join(names[:CLASSES_SHOWN])}{more}"


def _threshold_text(manifest: Manifest) -> str:
    """The scores that `predict` leaves out what is below, class by class."""
    pairs = list(zip(manifest.class_names, manifest.score_thresholds, strict=False))
    more = f", and {len(pairs) - CLASSES_SHOWN} more (--json)" if pairs[CLASSES_SHOWN:] else ""
    shown = ", ".join(f"{name} {least:g}" for name, least in pairs[:CLASSES_SHOWN])
    return f"{shown}{more} (best F1 in validation)" if pairs else ""


def _tensor_text(tensor: TensorInfo) -> str:
    return f"({', '.join(map(str, tensor.shape))}) {tensor.dtype}"


def _size(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _cost(figures: dict[str, float], name: str, unit: float, letter: str) -> str:
    """Takes a figure and its `_training` twin out of `figures`."""
    fused, branches = figures.pop(name, None), figures.pop(f"{name}_training", None)
    if fused is None:
        return ""
    more = f", {branches / unit:.3f} {letter} with the branches of training" if branches else ""
    return f"{fused / unit:.3f} {letter} fused{more}"


# --- everything else -----------------------------------------------------------------------------


def _arch_rows(spec: ArchSpec) -> Rows:
    stages = [f"{stage.out}/{stage.hidden} x{stage.blocks}" for stage in spec.stages]
    neck = [f"{stage.out}/{stage.hidden} x{stage.blocks}" for stage in spec.neck]
    return [
        ("name", spec.name),
        ("digest", spec.digest),
        ("family", spec.family),
        ("blocks", f"{spec.block}, {spec.kernel}x{spec.kernel}, {spec.activation}"),
        ("image size", _size(spec.image_size)),
        ("classes", str(spec.num_classes)),
        ("stem", str(spec.stem)),
        ("backbone", f"{', '.join(stages)}  (out/hidden x blocks)"),
        ("neck", f"{', '.join(neck)}  (out/hidden x blocks)"),
        ("head", ", ".join(map(str, spec.head_widths)) or "predictors alone"),
    ]


def _run_rows(run: TrainingRun) -> Rows:
    scored = [epoch for epoch in run.epochs if "ap" in epoch.values]
    best = max(scored, key=lambda epoch: epoch.values["ap"], default=None)
    report = run.train_report
    ending = report.ending if report else "not ended: detkit train --resume"
    return [
        ("state", f"{len(run.epochs)} epochs, {ending}"),
        ("best", f"AP {best.values['ap']:.4f} in epoch {best.number}" if best else ""),
        *(_record_rows(report) if report else []),
        *(("not read", why) for why in run.unread.values()),
        ("files", ", ".join(run.files)),
    ]


def _record_rows(record: Any) -> Rows:
    """The plain values of a report by field name; nested ones are for `--json`."""
    values = [(item.name, getattr(record, item.name)) for item in dataclasses.fields(record)]
    skip = ("schema_version", "kind", "content_digest")
    return [
        (name, f"{value:.6g}" if isinstance(value, float) else str(value))
        for name, value in values
        if isinstance(value, (str, int, float)) and name not in skip
    ]
