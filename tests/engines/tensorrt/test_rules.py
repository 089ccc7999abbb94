"""Each rule on a graph of a few nodes, and what the parser of TensorRT-RTX says to that graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, numpy_helper

from detkit.engines.tensorrt import rules as tensorrt_rules
from detkit.engines.tensorrt.rules import lint
from detkit.export.half import to_half

WEIGHT = np.random.default_rng(0).normal(0, 0.5, (2, 2, 1, 1)).astype(np.float32)
CODES, NONE = np.ones((2, 2, 1, 1), np.int8), np.zeros(2, np.int8)
TWO = np.array([0.1, 0.2], np.float32)
SCALE, ZERO = np.float32(0.1), np.int8(0)

QDQ = "q = QuantizeLinear (x, s, z) d = DequantizeLinear (q, s, z) y = Conv (d, w)"
WEIGHT_QDQ = (
    "w = DequantizeLinear <axis = {}> (w_q, w_s, w_z) q = QuantizeLinear (x, s, z)"
    " d = DequantizeLinear (q, s, z) y = {} (d, w)"
)
NMS = (
    "c = Constant <value = int64[1] {3}> () boxes = Reshape (x, a) scores = Reshape (x, b)"
    " y = NonMaxSuppression (boxes, scores, c)"
)


def parse(
    body: str,
    x: str = "float[n,2,4,4] x",
    y: str = "float[n,2,4,4] y",
    opset: int = 20,
    **tensors: Any,
) -> ModelProto:
    text = f'<ir_version: 10, opset_import: ["" : {opset}, "own" : 1]> g ({x}) => ({y}) {{{body}}}'
    model = onnx.parser.parse_model(text)
    for name, value in tensors.items():
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    return model


def scattered() -> ModelProto:
    model = parse("y = Conv (x, w)", w=WEIGHT)
    onnx.external_data_helper.set_external_data(model.graph.initializer[0], "weights.bin")
    model.graph.initializer[0].ClearField("raw_data")
    return model


WEIGHTS = {"s": SCALE, "z": ZERO, "w_q": CODES, "w_s": TWO, "w_z": NONE}
REFUSED, TAKEN = "refused", "taken"
# what -> graph, sentence, what TensorRT-RTX does with it
FAULTS = {
    "new opset": (
        parse("y = Conv (x, w)", opset=26, w=WEIGHT),
        "the graph is of opset 26; TensorRT reads up to 25",
        TAKEN,
    ),
    "other files": (
        scattered(),
        "tensor 'w' lies in another file; an artifact is one file",
        REFUSED,
    ),
    "double": (
        parse("a = Cast <to = 11> (x) y = Cast <to = 1> (a)"),
        "Cast 'a' is of type double, which TensorRT does not have",
        TAKEN,  # and computes in FP32
    ),
    "int16": (
        parse("a = Cast <to = 5> (x) y = Cast <to = 1> (a)"),
        "Cast 'a' is of type int16, which TensorRT does not have",
        REFUSED,
    ),
    "other domain": (
        parse("y = own.Twist (x)"),
        "Twist 'y' is no operator of ONNX but of 'own'",
        REFUSED,
    ),
    "suppression": (
        parse(NMS, y="int64[m,3] y", a=np.array([1, -1, 4]), b=np.array([1, 1, -1])),
        "NonMaxSuppression 'y' cannot be built by TensorRT-RTX, and has not been tried with"
        " TensorRT: export without --nms",
        REFUSED,
    ),
    "pixels transposed": (
        parse(
            "t = Transpose <perm = [0, 3, 1, 2]> (x) c = Cast <to = 1> (t) y = Conv (c, w)",
            x="uint8[n,4,4,2] x",
            w=WEIGHT,
        ),
        "Transpose 't' takes uint8, with which TensorRT does nothing but Cast",
        REFUSED,
    ),
    "pixels made": (
        parse("a = Cast <to = 2> (x) y = Cast <to = 1> (a)"),
        "Cast 'a' makes uint8, which TensorRT knows as input and output only",
        REFUSED,
    ),
    "mixed floats": (
        parse("h = Cast <to = 10> (x) y = Add (h, x)"),
        "Add 'y' mixes types, which a strongly typed network refuses:"
        " FLOAT16 from Cast 'h', FLOAT from tensor 'x'",
        REFUSED,
    ),
    "FP32 scale into FP16": (
        parse(
            "q = QuantizeLinear (x, s, z) d = DequantizeLinear (q, s, z) y = Conv (d, w)",
            y="float16[n,2,4,4] y",
            w=WEIGHT.astype(np.float16),
            s=SCALE,
            z=ZERO,
        ),
        "Conv 'y' mixes types, which a strongly typed network refuses:"
        " FLOAT from DequantizeLinear 'd', FLOAT16 from tensor 'w'",
        REFUSED,
    ),
    "int32 bias": (
        parse(
            WEIGHT_QDQ.format(0, "Conv").replace("(d, w)", "(d, w, b)")
            + " b = DequantizeLinear <axis = 0> (b_q, w_s)",
            b_q=np.array([100, 200], np.int32),
            **WEIGHTS,
        ),
        "DequantizeLinear 'b' dequantizes an int32 bias: leave the bias in floats",
        REFUSED,
    ),
    "uint8": (
        parse(QDQ, w=WEIGHT, s=SCALE, z=np.uint8(0)),
        "QuantizeLinear 'q' is of uint8; TensorRT quantizes to int8",
        TAKEN,  # and cuts 128..255 off, as int8
    ),
    "uint8 unsaid": (
        parse(QDQ.replace(", z)", ")"), w=WEIGHT, s=SCALE),
        "QuantizeLinear 'q' is of uint8, having no zero point to say otherwise;"
        " TensorRT quantizes to int8",
        TAKEN,  # likewise
    ),
    "zero point": (
        parse(QDQ, w=WEIGHT, s=SCALE, z=np.int8(-3)),
        "QuantizeLinear 'q' has the zero point -3; TensorRT has none but 0",
        REFUSED,
    ),
    "scale 0": (
        parse(QDQ, w=WEIGHT, s=np.float32(0), z=ZERO),
        "QuantizeLinear 'q' has the scale 0; it must be above 0",
        REFUSED,
    ),
    "one negative scale": (
        parse(
            WEIGHT_QDQ.format(0, "Conv"), **{**WEIGHTS, "w_s": np.array([0.1, -0.5], np.float32)}
        ),
        "DequantizeLinear 'w' has the scale -0.5; it must be above 0",
        REFUSED,
    ),
    "axis of Conv": (
        parse(WEIGHT_QDQ.format(1, "Conv"), **WEIGHTS),
        "DequantizeLinear 'w' scales a weight of Conv 'y' along axis 1;"
        " its output channels are axis 0",
        TAKEN,
    ),
    "axis of ConvTranspose": (
        parse(WEIGHT_QDQ.format(0, "ConvTranspose"), **WEIGHTS),
        "DequantizeLinear 'w' scales a weight of ConvTranspose 'y' along axis 0;"
        " its output channels are axis 1",
        TAKEN,
    ),
    "activation by channel": (
        parse(QDQ, w=WEIGHT, s=TWO, z=NONE),
        "QuantizeLinear 'q' has 2 scales for a tensor that is no weight;"
        " TensorRT runs such a convolution in floats: one scale a tensor",
        TAKEN,
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_rule_says_its_sentence(fault: str) -> None:
    graph, sentence, _ = FAULTS[fault]
    assert lint(graph)[0] == sentence


@pytest.mark.parametrize("rule", tensorrt_rules.RULES)
def test_no_rule_is_idle(monkeypatch: pytest.MonkeyPatch, rule: Callable[..., Any]) -> None:
    others = tuple(other for other in tensorrt_rules.RULES if other is not rule)
    monkeypatch.setattr(tensorrt_rules, "RULES", others)
    assert any(sentence not in lint(graph) for graph, sentence, _ in FAULTS.values())


@pytest.mark.parametrize("fault", FAULTS)
def test_rtx_parser_agrees_or_is_known_to_be_lenient(
    fault: str, rtx_refusal: Callable[[ModelProto], str]
) -> None:
    graph, _, verdict = FAULTS[fault]
    refusal = rtx_refusal(graph)
    assert bool(refusal) == (verdict == REFUSED), refusal


@pytest.mark.parametrize("name", ["yolo-nas-p", "yolo-nas-n"])
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("uint8", [False, True])
def test_what_detkit_exports_is_clean(
    float_graph: Callable[..., ModelProto], name: str, half: bool, uint8: bool
) -> None:
    graph = float_graph(name, uint8=uint8)
    assert lint(to_half(graph) if half else graph) == ()


def test_what_detkit_quantizes_is_clean(quantized_graph: ModelProto) -> None:
    assert lint(quantized_graph) == ()
    assert lint(to_half(quantized_graph)) == ()


def test_several_faults_are_all_named() -> None:
    graph = parse(QDQ, w=WEIGHT, s=np.float32(-1), z=np.int8(5))
    assert len(lint(graph)) == 4  # zero point and scale, of Q and of DQ


def test_types_that_are_quantized_to_may_be_fp8() -> None:
    graph = parse(QDQ, w=WEIGHT, s=SCALE)
    zero = onnx.helper.make_tensor("z", TensorProto.FLOAT8E4M3FN, [], [0.0])
    graph.graph.initializer.append(zero)
    assert lint(graph) == ()
