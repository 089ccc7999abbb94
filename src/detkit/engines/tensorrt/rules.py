"""What TensorRT 10 and 11 refuse in an ONNX graph or run badly, found without TensorRT.

What lives here: `lint`, one function a rule, each sentence naming its node. The rules are for
strongly typed networks. Which of them the parser of TensorRT-RTX enforces as well is in the tests;
others are here because it takes the graph and computes something else, or slower.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx.shape_inference
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

QDQ = ("QuantizeLinear", "DequantizeLinear")
MAX_OPSET = 25  # of the ONNX parser of TensorRT 11
ONNX_DOMAINS = ("", "ai.onnx")
WEIGHT_AXES = {"Conv": 0, "ConvTranspose": 1}  # the output channels of a weight
FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16)
TYPES = (
    *FLOATS,
    TensorProto.INT8,
    TensorProto.UINT8,
    TensorProto.INT32,
    TensorProto.INT64,
    TensorProto.BOOL,
    TensorProto.FLOAT8E4M3FN,
    TensorProto.INT4,
)
# Inputs whose type is not that of the others; the indices of those that count follow.
OWN_TYPES = {"Resize": (0,), "Pow": (0,), "QuantizeLinear": (0, 1), "DequantizeLinear": (1,)}


def lint(graph: ModelProto) -> tuple[str, ...]:
    """A sentence for each thing that TensorRT refuses or runs badly; empty where there is none."""
    view = _Graph(graph)
    return tuple(dict.fromkeys(sentence for rule in RULES for sentence in rule(view)))


class _Graph:
    """A graph with its types, constants and producers at hand."""

    def __init__(self, model: ModelProto) -> None:
        inferred = onnx.shape_inference.infer_shapes(model).graph
        self.opset = max(o.version for o in model.opset_import if o.domain in ONNX_DOMAINS)
        self.nodes = tuple(model.graph.node)
        self.inputs, self.outputs = tuple(model.graph.input), tuple(model.graph.output)
        self.constants = {tensor.name: tensor for tensor in model.graph.initializer}
        for node in self.nodes:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self.constants[node.output[0]] = node.attribute[0].t
        self.producers = {name: node for node in self.nodes for name in node.output}
        self.consumers: dict[str, list[NodeProto]] = {}
        for node in self.nodes:
            for name in node.input:
                self.consumers.setdefault(name, []).append(node)
        values = (*inferred.input, *inferred.value_info, *inferred.output)
        self.types = {value.name: value.type.tensor_type.elem_type for value in values}
        self.types |= {name: tensor.data_type for name, tensor in self.constants.items()}

    def value(self, name: str) -> npt.NDArray[Any] | None:
        """The value of this constant; None for other tensors and for data in other files."""
        tensor = self.constants.get(name)
        if tensor is None or tensor.data_location == TensorProto.EXTERNAL:
            return None
        return numpy_helper.to_array(tensor)

    def quantizers(self) -> Iterator[tuple[NodeProto, int]]:
        """Yields each Q or DQ node with the type of its quantized tensor."""
        for node in self.nodes:
            if node.op_type in QDQ:
                quantized = node.output[0] if node.op_type == QDQ[0] else node.input[0]
                yield node, self.types.get(quantized, TensorProto.UNDEFINED)


# --- the file ------------------------------------------------------------------------------------


def _opset(graph: _Graph) -> Iterator[str]:
    if graph.opset > MAX_OPSET:
        yield f"the graph is of opset {graph.opset}; TensorRT reads up to {MAX_OPSET}"


def _external_data(graph: _Graph) -> Iterator[str]:
    for name, tensor in graph.constants.items():
        if tensor.data_location == TensorProto.EXTERNAL:
            yield f"tensor '{name}' lies in another file; an artifact is one file"


def _types(graph: _Graph) -> Iterator[str]:
    for name, kind in graph.types.items():
        if kind not in (*TYPES, TensorProto.UNDEFINED):
            type_name = TensorProto.DataType.Name(kind).lower()
            made = _producer_text(graph, name)
            yield f"{made} is of type {type_name}, which TensorRT does not have"


def _operators(graph: _Graph) -> Iterator[str]:
    for node in graph.nodes:
        if node.domain not in ONNX_DOMAINS:
            yield f"{_called(node)} is no operator of ONNX but of '{node.domain}'"
        elif node.op_type == "NonMaxSuppression":
            yield (
                f"{_called(node)} cannot be built by TensorRT-RTX, and has not been tried with"
                " TensorRT: export without --nms"
            )


def _pixels(graph: _Graph) -> Iterator[str]:
    """Finds uint8 that is more than an input that is cast, or an output that was."""
    outputs = {value.name for value in graph.outputs}
    for node in graph.nodes:
        if node.op_type in QDQ:
            continue
        if node.op_type != "Cast" and any(_is_uint8(graph, name) for name in node.input):
            yield f"{_called(node)} takes uint8, with which TensorRT does nothing but Cast"
        for name in node.output:
            if _is_uint8(graph, name) and name not in outputs and node.op_type != "Constant":
                yield f"{_called(node)} makes uint8, which TensorRT knows as input and output only"


def _mixed_floats(graph: _Graph) -> Iterator[str]:
    """Finds nodes that mix float types, which a strongly typed network does not convert."""
    for node in graph.nodes:
        indices = OWN_TYPES.get(node.op_type, range(len(node.input)))
        names = [node.input[index] for index in indices if index < len(node.input)]
        floats = {name: graph.types[name] for name in names if graph.types.get(name) in FLOATS}
        if len(set(floats.values())) < 2:
            continue
        shown = ", ".join(
            f"{TensorProto.DataType.Name(kind)} from {_producer_text(graph, name)}"
            for name, kind in floats.items()
        )
        yield f"{_called(node)} mixes types, which a strongly typed network refuses: {shown}"


# --- Q/DQ ----------------------------------------------------------------------------------------


def _quantized_types(graph: _Graph) -> Iterator[str]:
    for node, kind in graph.quantizers():
        if kind == TensorProto.INT32:
            yield f"{_called(node)} dequantizes an int32 bias: leave the bias in floats"
        elif kind == TensorProto.UINT8:
            given = "" if len(node.input) > 2 else ", having no zero point to say otherwise"
            yield f"{_called(node)} is of uint8{given}; TensorRT quantizes to int8"


def _zero_points(graph: _Graph) -> Iterator[str]:
    for node, _ in graph.quantizers():
        zeros = graph.value(node.input[2]) if len(node.input) > 2 else None
        if zeros is not None and zeros.any():
            worst = zeros.flat[np.abs(zeros.astype(np.int64)).argmax()]
            yield f"{_called(node)} has the zero point {worst}; TensorRT has none but 0"


def _scales(graph: _Graph) -> Iterator[str]:
    for node, _ in graph.quantizers():
        scales = graph.value(node.input[1])
        if scales is not None and not (np.isfinite(scales) & (scales > 0)).all():
            yield f"{_called(node)} has the scale {scales.min():g}; it must be above 0"


def _scale_axes(graph: _Graph) -> Iterator[str]:
    for node, _ in graph.quantizers():
        scales = graph.value(node.input[1])
        if scales is None or scales.size == 1:
            continue
        if _is_activation(graph, node):
            yield (
                f"{_called(node)} has {scales.size} scales for a tensor that is no weight;"
                " TensorRT runs such a convolution in floats: one scale a tensor"
            )
            continue
        axis = _axis(node)
        for consumer in graph.consumers.get(node.output[0], ()):
            right = WEIGHT_AXES.get(consumer.op_type, axis)
            if right != axis:
                yield (
                    f"{_called(node)} scales a weight of {_called(consumer)} along axis {axis};"
                    f" its output channels are axis {right}"
                )


def _is_activation(graph: _Graph, node: NodeProto) -> bool:
    """Whether a Q or DQ node works on an activation: no constant is behind it."""
    name = node.input[0]
    while name in graph.producers and graph.producers[name].op_type in QDQ:
        name = graph.producers[name].input[0]
    return name not in graph.constants


def _axis(node: NodeProto) -> int:
    values = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    return int(values.get("axis", 1))


# --- words ---------------------------------------------------------------------------------------


def _is_uint8(graph: _Graph, name: str) -> bool:
    return graph.types.get(name) == TensorProto.UINT8


def _called(node: NodeProto) -> str:
    return f"{node.op_type} '{node.name or node.output[0]}'"


def _producer_text(graph: _Graph, name: str) -> str:
    return _called(graph.producers[name]) if name in graph.producers else f"tensor '{name}'"


RULES: tuple[Callable[[_Graph], Iterator[str]], ...] = (
    _opset,
    _external_data,
    _types,
    _operators,
    _pixels,
    _mixed_floats,
    _quantized_types,
    _zero_points,
    _scales,
    _scale_axes,
)
