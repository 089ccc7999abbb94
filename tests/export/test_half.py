"""The FP16 pass: what it turns and what it leaves, and how far the result strays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, NodeProto, TensorProto, numpy_helper

from detkit.export.half import to_half

FLOAT, HALF, INT8 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT8


def types_of(model: ModelProto) -> dict[str, int]:
    """Tensor name -> element type, all inferred; the graph is also checked in full."""
    onnx.checker.check_model(model, full_check=True)
    graph = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    types = {v.name: v.type.tensor_type.elem_type for v in (*graph.input, *graph.value_info)}
    types |= {v.name: v.type.tensor_type.elem_type for v in graph.output}
    return types | {tensor.name: tensor.data_type for tensor in graph.initializer}


def nodes_of(model: ModelProto, op_type: str) -> list[NodeProto]:
    return [node for node in model.graph.node if node.op_type == op_type]


def parse(
    body: str,
    inputs: str = "float[n,2,4,4] x",
    outputs: str = "float[n,2,4,4] y",
    opset: int = 20,
    **tensors: Any,
) -> ModelProto:
    text = f'<ir_version: 9, opset_import: ["" : {opset}]>\ng ({inputs}) => ({outputs}) {{{body}}}'
    model = onnx.parser.parse_model(text)
    for name, value in tensors.items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    return model


WEIGHT = np.random.default_rng(1).normal(0, 0.5, (2, 2, 1, 1)).astype(np.float32)
IMAGE = np.random.default_rng(2).random((3, 2, 4, 4), np.float32)


@pytest.mark.parametrize("name", ["yolo-nas-p", "yolo-nas-n"])
def test_convolutions_are_fp16_and_the_decode_is_not(
    float_graph: Callable[..., ModelProto], name: str
) -> None:
    source = float_graph(name)
    half = to_half(source)
    types = types_of(half)
    for op_type in ("Conv", "ConvTranspose"):
        for node in nodes_of(half, op_type):
            assert {types[tensor] for tensor in (*node.input, *node.output)} == {HALF}
    for op_type in ("Softmax", "Sigmoid", "Mul", "ReduceSum", "Sub"):
        for node in nodes_of(half, op_type):
            assert types[node.output[0]] == FLOAT
    assert half.graph.input == source.graph.input
    assert half.graph.output == source.graph.output
    assert len(nodes_of(half, "Cast")) == 3  # one at the input, one for boxes, one for scores
    assert half.ByteSize() < 0.55 * source.ByteSize()


def test_the_graph_given_is_left_as_it_was(float_graph: Callable[..., ModelProto]) -> None:
    source = float_graph("yolo-nas-p")
    before = source.SerializeToString()
    to_half(source)
    assert source.SerializeToString() == before


def with_rounded_weights(model: ModelProto) -> ModelProto:
    """The FP32 graph with what its convolutions read rounded to FP16."""
    rounded = onnx.ModelProto()
    rounded.CopyFrom(model)
    read = {
        name
        for kind in ("Conv", "ConvTranspose")
        for n in nodes_of(model, kind)
        for name in n.input
    }
    for tensor in rounded.graph.initializer:
        if tensor.name in read:
            value = numpy_helper.to_array(tensor).astype(np.float16).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    return rounded


@pytest.mark.parametrize("name", ["yolo-nas-p", "yolo-nas-n"])
def test_fp16_is_the_network_with_its_weights_rounded(
    float_graph: Callable[..., ModelProto],
    run_graph: Callable[..., list[Any]],
    images: Any,
    name: str,
) -> None:
    """On a CPU, where ONNX Runtime rounds constants to FP16 and nothing between the nodes."""
    source = float_graph(name)
    half = run_graph(to_half(source), images)
    rounded = run_graph(with_rounded_weights(source), images)
    for a, b, limit in zip(half, rounded, (5e-2, 1e-4), strict=True):
        assert np.abs(a - b).max() < limit
    exact = run_graph(source, images)
    for a, b, limit in zip(half, exact, (0.1, 1e-4), strict=True):
        assert np.abs(a - b).mean() < limit  # px, score; the weights are untrained


def test_large_coordinates_keep_their_digits(run_graph: Callable[..., list[Any]]) -> None:
    """FP16 knows 600.3 as 600.5."""
    model = parse(
        "a = Conv (x, w) p = Sigmoid (a) y = Add (p, big)", w=WEIGHT, big=[np.float32(600.3)]
    )
    error = np.abs(run_graph(to_half(model), IMAGE)[0] - run_graph(model, IMAGE)[0]).max()
    assert error < 2e-3


def test_pixels_become_fp16_at_the_first_convolution(
    float_graph: Callable[..., ModelProto],
) -> None:
    """TensorRT refuses to transpose uint8; the 1/255 is in the convolution's weights by now."""
    source = float_graph("yolo-nas-p", uint8=True)
    half = to_half(source)
    types = types_of(half)
    assert half.graph.input == source.graph.input
    first = half.graph.node[:4]
    assert [node.op_type for node in first] == ["Cast", "Transpose", "Cast", "Conv"]
    assert [types[node.output[0]] for node in first] == [FLOAT, FLOAT, HALF, HALF]


def test_int8_stays_and_dequantizes_to_what_reads_it(
    quantized_graph: ModelProto, run_graph: Callable[..., list[Any]]
) -> None:
    half = to_half(quantized_graph)
    types = types_of(half)
    names = {tensor.name for tensor in half.graph.initializer if tensor.data_type == INT8}
    assert {"w_1_q", "w_2_q", "w_3_q", "w_4_q", "zero"} <= names
    producers = {name: node for node in half.graph.node for name in node.output}
    for conv in nodes_of(half, "Conv"):
        assert {types[name] for name in conv.input} == {HALF}
    quantized_convs = nodes_of(half, "Conv")[:4]
    for conv in quantized_convs:
        assert [producers[name].op_type for name in conv.input[:2]] == ["DequantizeLinear"] * 2
    (add,) = nodes_of(half, "Add")
    assert [producers[name].op_type for name in add.input] == ["DequantizeLinear"] * 2
    assert len(nodes_of(half, "Cast")) == 1  # before the sigmoid: the input is quantized as FP32
    images = np.random.default_rng(3).random((2, 3, 32, 32), np.float32)
    error = np.abs(run_graph(half, images)[0] - run_graph(quantized_graph, images)[0])
    assert error.mean() < 5e-3


def test_a_tensor_read_in_both_types_is_dequantized_twice() -> None:
    body = """
      d = DequantizeLinear (q, s, z)
      c = Conv (d, w)
      e = Exp (d)
      f = Sigmoid (c)
      y = Add (e, f)"""
    scale, zero = np.float32(0.1), np.int8(0)
    half = to_half(parse(body, "int8[n,2,4,4] q", w=WEIGHT, s=scale, z=zero))
    types = types_of(half)
    assert sorted(types[n.output[0]] for n in nodes_of(half, "DequantizeLinear")) == [FLOAT, HALF]
    assert len(nodes_of(half, "Cast")) == 1


def test_quantized_graphs_of_old_opsets_are_lifted_to_one_with_fp16_scales() -> None:
    body = "q = QuantizeLinear (x, s, z) d = DequantizeLinear (q, s, z) y = Conv (d, w)"
    model = parse(body, opset=17, w=WEIGHT, s=np.float32(0.1), z=np.int8(0))
    onnx.helper.set_model_props(model, {"detkit": "manifest"})
    half = to_half(model)
    types_of(half)
    assert half.opset_import[0].version == 19
    assert half.metadata_props == model.metadata_props


def test_a_scale_that_fp16_would_round_off_keeps_its_convolution_in_fp32() -> None:
    body = """
      w = DequantizeLinear <axis = 0> (w_q, w_s, w_z)
      a = Conv (x, w)
      b = Relu (a)
      y = Conv (b, v)"""
    codes, zeros = np.ones((2, 2, 1, 1), np.int8), np.zeros(2, np.int8)
    for scales, kept in (([0.01, 6e-5], True), ([0.01, 7e-5], False)):
        half = to_half(
            parse(body, w_q=codes, w_s=np.array(scales, np.float32), w_z=zeros, v=WEIGHT)
        )
        types = types_of(half)
        first, second = nodes_of(half, "Conv")
        assert types[first.output[0]] == (FLOAT if kept else HALF)
        assert types[second.output[0]] == HALF


def test_nothing_comes_between_such_a_convolution_and_its_quantizer() -> None:
    body = """
      d = DequantizeLinear (q, s, z)
      w = DequantizeLinear <axis = 0> (w_q, w_s, w_z)
      a = Conv (d, w)
      b = Relu (a)
      q_b = QuantizeLinear (b, s, z)
      d_b = DequantizeLinear (q_b, s, z)
      y = Conv (d_b, v)"""
    scales: dict[str, Any] = {"s": np.float32(0.1), "z": np.int8(0)}
    scales["w_s"] = np.array([0.01, 1e-6], np.float32)
    codes: dict[str, Any] = {
        "w_q": np.ones((2, 2, 1, 1), np.int8),
        "w_z": np.zeros(2, np.int8),
        "v": WEIGHT,
    }
    half = to_half(parse(body, "int8[n,2,4,4] q", **scales, **codes))
    types = types_of(half)
    first, second = nodes_of(half, "Conv")
    assert types[first.output[0]] == FLOAT
    assert types[second.output[0]] == HALF
    assert [node.output[0] for node in nodes_of(half, "Cast")] == ["y"]


def test_a_weight_beyond_fp16_keeps_its_convolution_in_fp32() -> None:
    half = to_half(parse("a = Conv (x, w) b = Relu (a) y = Conv (b, v)", w=WEIGHT * 1e6, v=WEIGHT))
    types = types_of(half)
    assert [types[node.output[0]] for node in nodes_of(half, "Conv")] == [FLOAT, HALF]


def test_resize_keeps_its_scales_in_fp32(run_graph: Callable[..., list[Any]]) -> None:
    body = """
      a = Conv (x, w)
      b = Resize <mode = "nearest"> (a, , scales)
      y = Conv (b, w)"""
    model = parse(
        body, outputs="float[n,2,8,8] y", w=WEIGHT, scales=np.array([1, 1, 2, 2], np.float32)
    )
    half = to_half(model)
    types = types_of(half)
    (resize,) = nodes_of(half, "Resize")
    assert types[resize.input[0]] == HALF
    assert types[resize.input[2]] == FLOAT
    assert np.abs(run_graph(half, IMAGE)[0] - run_graph(model, IMAGE)[0]).max() < 5e-3


def test_outputs_made_in_fp16_come_out_in_fp32(run_graph: Callable[..., list[Any]]) -> None:
    model = parse(
        "y = Conv (x, w) z = Relu (y)", outputs="float[n,2,4,4] y, float[n,2,4,4] z", w=WEIGHT
    )
    half = to_half(model)
    types = types_of(half)
    assert types["y"] == types["z"] == FLOAT
    for a, b in zip(run_graph(half, IMAGE), run_graph(model, IMAGE), strict=True):
        assert np.abs(a - b).max() < 5e-3


def test_constants_in_nodes_turn_like_initialisers() -> None:
    body = "c = Constant <value_float = 0.5> () a = Conv (x, w) b = Mul (a, c) y = Conv (b, w)"
    half = to_half(parse(body, w=WEIGHT))
    assert types_of(half)[nodes_of(half, "Mul")[0].input[1]] == HALF
    assert nodes_of(half, "Constant") == []


def test_a_graph_without_convolutions_stays_as_it_is(run_graph: Callable[..., list[Any]]) -> None:
    model = parse("a = Sigmoid (x) y = Add (a, x)")
    assert [node.op_type for node in to_half(model).graph.node] == ["Sigmoid", "Add"]


@pytest.mark.parametrize("name", ["yolo-nas-p", "yolo-nas-n"])
@pytest.mark.parametrize("uint8", [False, True])
def test_rtx_builds_both_precisions(
    float_graph: Callable[..., ModelProto],
    rtx_refusal: Callable[[ModelProto], str],
    name: str,
    uint8: bool,
) -> None:
    graph = float_graph(name, uint8=uint8)
    assert rtx_refusal(graph) == ""
    assert rtx_refusal(to_half(graph)) == ""


def test_rtx_builds_int8_with_the_rest_in_both_precisions(
    quantized_graph: ModelProto, rtx_refusal: Callable[[ModelProto], str]
) -> None:
    assert rtx_refusal(quantized_graph) == ""
    assert rtx_refusal(to_half(quantized_graph)) == ""
