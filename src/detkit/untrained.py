"""An untrained network as the file an engine runs: what is timed before anything is trained.

Latency does not depend on the weights, so they are fresh. INT8 graphs get ranges from drawn
images and the form their engine fuses, for INT8 latency cannot be told from that of float.
"""

from __future__ import annotations

import dataclasses
import tempfile
from dataclasses import dataclass
from pathlib import Path

from onnx import ModelProto

from detkit.artifact.artifact import Manifest
from detkit.core.errors import UsageError, did_you_mean
from detkit.data.coco.folder import synthetic_images
from detkit.engines.opening import open_session
from detkit.engines.tensorrt.build_machine import PACKAGES
from detkit.engines.tensorrt.engine_file import read_record, write_engine
from detkit.engines.tensorrt.export import build_engine, engine_record
from detkit.engines.tensorrt.plan import EnginePlan
from detkit.export.graph import build_graph, write_onnx
from detkit.export.half import to_half
from detkit.export.qdq import for_target
from detkit.nn.checkpoint import input_output, new_detector, save_checkpoint
from detkit.nn.detector import fuse
from detkit.nn.quantization.quantized import QuantizedDetector
from detkit.quantize.calibrate import observe, set_ranges
from detkit.runtime.session import Placement, Session
from detkit.spec.arch import ArchSpec
from detkit.spec.preprocess import Preprocess
from detkit.spec.quant import QuantSpec
from detkit.spec.zoo import ZOO, with_task

CALIBRATION_IMAGES = 2
SUFFIXES = {
    "torch": ".safetensors",
    "onnxruntime": ".onnx",
    "openvino": ".onnx",
    "tensorrt": ".engine",
    "tensorrt-rtx": ".engine",
}
PRECISIONS = ("fp32", "int8")  # that every engine of graphs computes in
PRECISIONS_OF = {  # runtime -> what it really computes in
    "torch": ("fp32",),
    "onnxruntime": ("fp32", "int8"),
    "openvino": ("fp32", "int8"),
    "tensorrt": ("fp32", "fp16", "int8"),
    "tensorrt-rtx": ("fp32", "fp16", "int8"),
}
REASONS = {
    ("torch", "fp16"): "detkit runs checkpoints in float32",
    ("torch", "int8"): "torch computes INT8 in float, which tells nothing of an engine's time",
    ("onnxruntime", "fp16"): "its CPU kernels compute in float32",
    ("openvino", "fp16"): "on a CPU it computes in float32, whatever its weights are stored in",
}


def check_prototype(runtime: str, precision: str) -> None:
    """Raises UsageError for what no prototype can be made in, with the reason."""
    if runtime not in PRECISIONS_OF:
        raise UsageError(f"no prototype for '{runtime}'", hint=did_you_mean(runtime, PRECISIONS_OF))
    known = PRECISIONS_OF[runtime]
    if precision not in known:
        if (runtime, precision) not in REASONS:
            raise UsageError(f"no prototype in '{precision}'", hint=did_you_mean(precision, known))
        raise UsageError(
            f"no {precision} on {runtime}: {REASONS[runtime, precision]}",
            hint=f"{runtime} can be timed in {' and '.join(known)}",
        )


REFERENCE = with_task(ZOO["yolo-nas-p"], 80, (160, 160))  # timed beside others: see `Setup`


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What networks are timed as.

    Raises:
        UsageError: see `check_prototype`.
    """

    runtime: str
    precision: str
    placement: Placement

    def __post_init__(self) -> None:
        check_prototype(self.runtime, self.precision)

    def open(self, spec: ArchSpec) -> Session:
        """The network of `spec` as its engine has loaded it; no file stays.

        Raises:
            BackendError: the runtime or the device is not here.
        """
        with tempfile.TemporaryDirectory(prefix="detkit-prototype-") as folder:
            path = Path(folder) / f"prototype{SUFFIXES[self.runtime]}"
            write_prototype(spec, path, runtime=self.runtime, precision=self.precision)
            return open_session(path, runtime=self.runtime, placement=self.placement)

    def open_reference(self) -> Session:
        """A network that stays the same: its times tell how steady the machine is."""
        return self.open(REFERENCE)


def write_prototype(spec: ArchSpec, path: Path, *, runtime: str, precision: str) -> Manifest:
    """Writes what `runtime` runs: ONNX, a fused checkpoint, or an engine built here.

    Raises:
        UsageError: see `check_prototype`.
        BackendError: an engine is asked for, and its library or GPU is not here.
    """
    check_prototype(runtime, precision)
    if runtime == "torch":
        manifest = dataclasses.replace(_manifest(spec), kind="checkpoint")
        return save_checkpoint(path, fuse(new_detector(spec, 0).eval()), manifest)
    is_engine = runtime in PACKAGES
    graph, manifest = prototype_graph(
        spec, target="tensorrt" if is_engine else runtime, precision=precision
    )
    if is_engine:
        return _write_engine(graph, manifest, path, library=runtime)
    return write_onnx(graph, manifest, path)


def prototype_graph(spec: ArchSpec, *, target: str, precision: str) -> tuple[ModelProto, Manifest]:
    """The graph in the form that `target` fuses (see `spec.quant.TARGETS`) and its manifest."""
    manifest = dataclasses.replace(_manifest(spec), precision=precision)
    fused = fuse(new_detector(spec, 0).eval())
    if precision != "int8":
        graph = build_graph(fused, manifest)
        return (to_half(graph) if precision == "fp16" else graph), manifest
    model = QuantizedDetector(fused, QuantSpec()).eval()
    images = synthetic_images(manifest.preprocess, CALIBRATION_IMAGES)
    set_ranges(model, observe(model, [images]), "max")
    graph = for_target(build_graph(model, manifest), target)
    return graph, dataclasses.replace(manifest, quant=model.quant)


def _write_engine(graph: ModelProto, manifest: Manifest, path: Path, *, library: str) -> Manifest:
    """An engine for one image."""
    built = build_engine(graph, library, EnginePlan(batches=(1, 1, 1)))
    record = engine_record(built, manifest, half=manifest.precision == "fp16")
    write_engine(path, built.engine, record)
    return read_record(path).manifest


def _manifest(spec: ArchSpec) -> Manifest:
    inputs, outputs = input_output(spec)
    return Manifest(
        kind="onnx",
        arch=spec,
        form="deployed",
        class_names=tuple(f"class {number}" for number in range(spec.num_classes)),
        preprocess=Preprocess(size=spec.image_size, fit=spec.image_size),
        inputs=inputs,
        outputs=outputs,
    )
