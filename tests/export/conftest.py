"""Graphs to export from: real ones of the small members, and a small quantized one by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper


@pytest.fixture(scope="session")
def float_graph(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., ModelProto]:
    """`float_graph("yolo-nas-p", uint8=False)`: its deployed FP32 graph, 80 classes, 64 px."""
    import torch

    from detkit.artifact import Manifest
    from detkit.export.graph import build_graph
    from detkit.nn.checkpoint import input_output, new_detector
    from detkit.nn.detector import fuse
    from detkit.spec.preprocess import Preprocess
    from detkit.spec.zoo import ZOO, with_task

    made: dict[Any, ModelProto] = {}

    def make(name: str, *, uint8: bool = False) -> ModelProto:
        if (name, uint8) not in made:
            spec = with_task(ZOO[name], 80, (64, 64))
            model = new_detector(spec, 0).train()
            for layer in model.modules():
                if isinstance(layer, torch.nn.BatchNorm2d):
                    layer.momentum = 1.0
            with torch.no_grad():
                model(torch.from_numpy(drawn_pictures(0, 32)))
            inputs, outputs = input_output(spec)
            manifest = Manifest(
                kind="onnx",
                arch=spec,
                class_names=tuple(map(str, range(80))),
                preprocess=Preprocess(size=(64, 64), fit=(64, 64)),
                inputs=inputs,
                outputs=outputs,
            )
            made[name, uint8] = build_graph(fuse(model.eval()), manifest, uint8=uint8)
        return made[name, uint8]

    return make


@pytest.fixture(scope="session")
def int8_graph(checkpoint: Path) -> ModelProto:
    """`checkpoint`, calibrated on drawn pictures, in the form that INT8 has for TensorRT."""
    from detkit.export.graph import build_graph
    from detkit.export.qdq import for_target
    from detkit.nn.checkpoint import input_output, load_checkpoint
    from detkit.nn.detector import fuse
    from detkit.nn.quantized import QuantizedDetector
    from detkit.quantize.calibrate import observe, set_ranges
    from detkit.spec.quant import QuantSpec

    model, manifest = load_checkpoint(checkpoint)
    quantized = QuantizedDetector(fuse(model.eval()), QuantSpec()).eval()
    set_ranges(quantized, observe(quantized, [drawn_pictures(0, 8)]), "max")
    inputs, outputs = input_output(manifest.arch)
    manifest = dataclasses.replace(manifest, inputs=inputs, outputs=outputs)
    return for_target(build_graph(fuse(quantized), manifest), "tensorrt")


def drawn_pictures(first: int, end: int) -> Any:
    """(end - first, 3, 64, 64) float32. Of noise, deep layers see averages that are all alike."""
    from detkit.data.picture import network_input
    from detkit.data.synth import draw_pictures

    return network_input(draw_pictures(end, size=64)[first:])


@pytest.fixture(scope="session")
def pictures() -> Any:
    """Four pictures that no fixture's model was made with."""
    return drawn_pictures(32, 36)


QUANTIZED = """
<ir_version: 10, opset_import: ["" : 20]>
quantized (float[batch,3,32,32] images) => (float[batch,2,16,16] scores)
<float s_in = {0.0078}, float s_1 = {0.02}, float s_1b = {0.013}, float s_2 = {0.03},
 float s_sum = {0.04}, float s_up = {0.05}, int8 zero = {0}>
{
  q_in = QuantizeLinear (images, s_in, zero)
  d_in = DequantizeLinear (q_in, s_in, zero)
  conv_1 = Conv <pads = [1, 1, 1, 1]> (d_in, w_1, b_1)
  relu_1 = Relu (conv_1)
  q_1 = QuantizeLinear (relu_1, s_1, zero)
  d_1 = DequantizeLinear (q_1, s_1, zero)
  conv_2 = Conv <pads = [1, 1, 1, 1]> (d_1, w_2, b_2)
  relu_2 = Relu (conv_2)
  q_2 = QuantizeLinear (relu_2, s_2, zero)
  d_2 = DequantizeLinear (q_2, s_2, zero)
  shortcut = DequantizeLinear (q_1, s_1b, zero)
  sum = Add (d_2, shortcut)
  q_sum = QuantizeLinear (sum, s_sum, zero)
  d_sum = DequantizeLinear (q_sum, s_sum, zero)
  both = Concat <axis = 1> (d_sum, d_2)
  q_both = QuantizeLinear (both, s_sum, zero)
  d_both = DequantizeLinear (q_both, s_sum, zero)
  pooled = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (d_both)
  q_pool = QuantizeLinear (pooled, s_sum, zero)
  d_pool = DequantizeLinear (q_pool, s_sum, zero)
  smaller = Conv <pads = [1, 1, 1, 1], strides = [2, 2]> (d_pool, w_3, b_3)
  relu_3 = Relu (smaller)
  q_3 = QuantizeLinear (relu_3, s_2, zero)
  d_3 = DequantizeLinear (q_3, s_2, zero)
  wide = Conv (d_3, w_4, b_4)
  q_wide = QuantizeLinear (wide, s_up, zero)
  d_wide = DequantizeLinear (q_wide, s_up, zero)
  up = DepthToSpace <blocksize = 2, mode = "CRD"> (d_wide)
  q_up = QuantizeLinear (up, s_up, zero)
  d_up = DequantizeLinear (q_up, s_up, zero)
  logits = Conv (d_up, w_5, b_5)
  scores = Sigmoid (logits)
}
"""
WEIGHTS = {"w_1": (8, 3, 3, 3), "w_2": (8, 8, 3, 3), "w_3": (16, 16, 3, 3), "w_4": (32, 16, 1, 1)}


@pytest.fixture
def quantized_graph() -> ModelProto:
    """A detector's parts as detkit quantizes them for TensorRT, over random weights.

    int8, zero point 0; a scale for each output channel of a weight, one for a tensor else; two
    scales on one shortcut; 1x1 convolution and DepthToSpace to enlarge; float predictor and bias.
    """
    rng = np.random.default_rng(0)
    head, _, body = QUANTIZED.rpartition("{\n")
    dequantized = "".join(
        f"  {name} = DequantizeLinear <axis = 0> ({name}_q, {name}_s, {name}_z)\n"
        for name in WEIGHTS
    )
    model = onnx.parser.parse_model(f"{head}{{\n{dequantized}{body}")
    tensors = {"w_5": rng.normal(0, 0.2, (2, 8, 1, 1)).astype(np.float32)}
    for name, shape in WEIGHTS.items():
        weight = rng.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape)
        scale = (np.abs(weight).max(axis=(1, 2, 3)) / 127).astype(np.float32)
        tensors[f"{name}_q"] = np.rint(weight / scale[:, None, None, None]).astype(np.int8)
        tensors[f"{name}_s"], tensors[f"{name}_z"] = scale, np.zeros(shape[0], np.int8)
    for index, width in enumerate((8, 8, 16, 32, 2), 1):
        tensors[f"b_{index}"] = rng.normal(0, 0.1, width).astype(np.float32)
    model.graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in tensors.items())
    onnx.checker.check_model(model, full_check=True)
    return model


@pytest.fixture
def run_graph() -> Callable[..., list[Any]]:
    """`run_graph(model, input)`: its outputs by ONNX Runtime."""
    import onnxruntime as ort

    def run(model: ModelProto, images: Any) -> list[Any]:
        engine = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        outputs: list[Any] = engine.run(None, {engine.get_inputs()[0].name: images})
        return outputs

    return run


@pytest.fixture(scope="session")
def rtx_refusal() -> Callable[[ModelProto], str]:
    """`rtx_refusal(model)`: why TensorRT-RTX does not parse or build it; nothing where it does."""
    from detkit.errors import ArtifactError
    from detkit.export.engine_plan import EnginePlan
    from detkit.runtime.trt_api import build

    trt = pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed here")
    plan = EnginePlan(batches=(1, 2, 4))

    def refusal(model: ModelProto) -> str:
        data, profile = model.SerializeToString(), plan.profile(model)
        try:
            build(trt, data, profile=profile, flags=plan.flags, level=plan.level)
        except ArtifactError as error:
            return str(error)
        return ""

    return refusal
