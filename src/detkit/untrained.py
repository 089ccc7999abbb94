"""An untrained network as the file an engine runs: what is timed before anything is trained.

Latency does not depend on the weights, so they are fresh. INT8 graphs get ranges from drawn
images and the form their engine fuses, for INT8 latency cannot be told from that of float.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from onnx import ModelProto

from detkit.artifact.artifact import Manifest
from detkit.artifact.writing import temporary_folder
from detkit.core.errors import UsageError, did_you_mean
from detkit.data.coco.folder import synthetic_images
from detkit.engines import find_engine
from detkit.engines.int8_graph import for_engine
from detkit.engines.opening import open_session
from detkit.export.graph import build_graph, write_onnx
from detkit.export.half import to_half
from detkit.nn.checkpoint import input_output, new_detector, save_checkpoint
from detkit.nn.detector import fuse
from detkit.nn.quantization.quantized import QuantizedDetector
from detkit.quantize.calibrate import collect_stats, set_ranges
from detkit.runtime.session import Session, SessionOptions
from detkit.spec.arch import ArchSpec
from detkit.spec.preprocess import Preprocess
from detkit.spec.quant import QuantSpec
from detkit.spec.zoo import ZOO, with_task

CALIBRATION_IMAGES = 2
PRECISIONS = ("fp32", "int8")  # that every engine of graphs computes in


def check_untrained(engine: str, precision: str) -> None:
    """Raises UsageError for what no untrained model can be made in, with the reason."""
    record = find_engine(engine)
    if precision in record.precisions:
        return
    reason = dict(record.without).get(precision, "")
    if not reason:
        hint = did_you_mean(precision, record.precisions)
        raise UsageError(f"unknown precision '{precision}'", hint=hint)
    raise UsageError(
        f"no {precision} on {engine}: {reason}",
        hint=f"{engine} can be timed in {' and '.join(record.precisions)}",
    )


REFERENCE = with_task(ZOO["yolo-nas-p"], 80, (160, 160))  # timed beside others: see `EngineSetup`


@dataclass(frozen=True, kw_only=True)
class EngineSetup:
    """The engine, the precision and the session options that untrained networks are timed with.

    Raises:
        UsageError: see `check_untrained`.
    """

    engine: str
    precision: str
    session_options: SessionOptions

    def __post_init__(self) -> None:
        check_untrained(self.engine, self.precision)

    def open(self, spec: ArchSpec) -> Session:
        """Opens the network of `spec` as its engine loads it; no file stays.

        Raises:
            BackendError: the engine or the device is not here.
        """
        with temporary_folder() as folder:
            record = find_engine(self.engine)
            suffix = record.suffix if record.build or record.runs_checkpoints else ".onnx"
            path = folder / f"model{suffix}"
            write_untrained_model(spec, path, engine=self.engine, precision=self.precision)
            return open_session(path, engine=self.engine, session_options=self.session_options)

    def open_reference(self) -> Session:
        """Opens a network that stays the same: its times say how steady the machine is."""
        return self.open(REFERENCE)


def write_untrained_model(spec: ArchSpec, path: Path, *, engine: str, precision: str) -> Manifest:
    """Writes what `engine` runs: ONNX, a fused checkpoint, or an engine built here.

    Raises:
        UsageError: see `check_untrained`.
        BackendError: an engine is asked for, and its library or GPU is not here.
    """
    check_untrained(engine, precision)
    record = find_engine(engine)
    if record.runs_checkpoints:
        manifest = dataclasses.replace(untrained_manifest(spec), kind="checkpoint")
        return save_checkpoint(path, fuse(new_detector(spec, 0).eval()), manifest)
    graph, manifest = untrained_graph(spec, target=record.int8_engine, precision=precision)
    if record.build:
        built: Manifest = record.load(record.build)(graph, manifest, path, engine)
        return built
    return write_onnx(graph, manifest, path)


def untrained_graph(spec: ArchSpec, *, target: str, precision: str) -> tuple[ModelProto, Manifest]:
    """Builds the graph as `target` fuses it, and its manifest."""
    manifest = dataclasses.replace(untrained_manifest(spec), precision=precision)
    fused = fuse(new_detector(spec, 0).eval())
    if precision != "int8":
        graph = build_graph(fused, manifest)
        return (to_half(graph) if precision == "fp16" else graph), manifest
    model = QuantizedDetector(fused, QuantSpec()).eval()
    images = synthetic_images(manifest.preprocess, CALIBRATION_IMAGES)
    set_ranges(model, collect_stats(model, [images]), "max")
    graph = for_engine(build_graph(model, manifest), target)
    return graph, dataclasses.replace(manifest, quant=model.quant)


def untrained_manifest(spec: ArchSpec) -> Manifest:
    """The manifest of an exported network of numbered classes, whose images fill its input."""
    inputs, outputs = input_output(spec)
    return Manifest(
        kind="onnx",
        arch=spec,
        form="deployed",
        class_names=tuple(f"class {number}" for number in range(spec.num_classes)),
        preprocess=Preprocess.filling(spec.image_size),
        inputs=inputs,
        outputs=outputs,
    )
