"""An untrained network as the file an engine runs: what is timed before anything is trained.

Latency does not depend on the weights, so they are fresh. INT8 graphs get ranges from drawn
pictures and the form their engine fuses, for INT8 latency cannot be told from that of float.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from onnx import ModelProto

from detkit.artifact import Manifest
from detkit.data.coco import synthetic_pictures
from detkit.errors import UsageError, did_you_mean
from detkit.export.graph import build_graph, write_onnx
from detkit.export.qdq import for_target
from detkit.nn.checkpoint import input_output, new_detector
from detkit.nn.detector import Detector, fuse
from detkit.nn.quantized import QuantizedDetector
from detkit.quantize.calibrate import observe, set_ranges
from detkit.spec.arch import ArchSpec
from detkit.spec.preprocess import Preprocess
from detkit.spec.quant import TARGETS, QuantSpec

PRECISIONS = ("fp32", "int8")
CALIBRATION_PICTURES = 2


def write_prototype(spec: ArchSpec, path: Path, *, runtime: str, precision: str) -> Manifest:
    """Writes the graph of `spec` for `runtime` as ONNX.

    Raises:
        UsageError: a runtime or precision that no prototype can be made for.
    """
    if runtime not in TARGETS:
        raise UsageError(f"no prototype for '{runtime}'", hint=did_you_mean(runtime, TARGETS))
    if precision not in PRECISIONS:
        raise UsageError(f"no prototype in '{precision}'", hint=did_you_mean(precision, PRECISIONS))
    manifest = _manifest(spec)
    fused = fuse(new_detector(spec, 0).eval())
    if precision == "fp32":
        return write_onnx(build_graph(fused, manifest), manifest, path)
    graph, quant = _int8_graph(fused, manifest, runtime)
    return write_onnx(graph, dataclasses.replace(manifest, precision="int8", quant=quant), path)


def _int8_graph(fused: Detector, manifest: Manifest, runtime: str) -> tuple[ModelProto, QuantSpec]:
    model = QuantizedDetector(fused, QuantSpec()).eval()
    pictures = synthetic_pictures(manifest.preprocess, CALIBRATION_PICTURES)
    set_ranges(model, observe(model, [pictures]), "max")
    return for_target(build_graph(model, manifest), runtime), model.quant


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
