"""Q/DQ graphs: the form in which each engine recognises, and runs fast, what is INT8.

A traced fake-quantized network has QuantizeLinear -> DequantizeLinear on float weights and on
activations of 0..255 with any zero point. `in_form` rewrites it; the values stay those of the
trace but for engines that have only symmetric int8 and so half the levels of a non-negative
tensor. What an engine makes of it is measured, not assumed (see `engines.coverage`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np
import onnx
from onnx import ModelProto, NodeProto

from detkit.export.rewriting import Graph

# Give only values that they were given; a Resize is by nearest, with a constant as its scale.
MOVING = ("Concat", "MaxPool", "DepthToSpace", "Resize")
INT32_MOST = 2**31 - 1


def in_form(model: ModelProto, form: Callable[[Graph], None]) -> ModelProto:
    """A copy of a traced fake-quantized graph, rewritten so that an engine runs it in INT8.

    Args:
        form: what the engine needs beside what all need: one of the three below.
    """
    out = ModelProto()
    out.CopyFrom(model)
    graph = Graph(out.graph)
    _fold_weights(graph)
    _fold_scales(graph)
    _shuffle_blocks(graph)
    _round_moved(graph)
    form(graph)
    graph.finish()
    onnx.checker.check_model(out, full_check=True)
    return out


def bytes_form(graph: Graph) -> None:
    """Rewrites for engines that fuse patterns of uint8: ReLU within its rounding, floats kept.

    Biases are integers: with float ones ONNX Runtime 1.18, 1.20 and 1.22 fuse no convolution.
    """
    _take_bytes(graph)
    _round_before_activations(graph)
    _give_relu_its_zero(graph)
    _keep_floats(graph)
    _quantize_biases(graph)


def symmetric_form(graph: Graph) -> None:
    """Rewrites for engines whose activations are symmetric int8."""
    _make_symmetric(graph)


def traced_form(graph: Graph) -> None:
    """Leaves the graph as it was traced, for engines that take it so."""
    del graph


def _pairs(graph: Graph) -> Iterator[tuple[NodeProto, NodeProto]]:
    """Yields (Q, DQ) of every activation."""
    for node in graph.of_type("QuantizeLinear"):
        for consumer in graph.consumers(node.output[0]):
            yield node, consumer


def _fold_weights(graph: Graph) -> None:
    """Puts the int8 constant in place of Q of a constant: a quarter of the size, the same codes."""
    for node in graph.of_type("QuantizeLinear"):
        weight = graph.constants.get(node.input[0])
        if weight is None:
            continue
        scale, zero = (graph.constants[name] for name in node.input[1:3])
        shape = (-1,) + (1,) * (weight.ndim - 1)
        steps = np.rint(weight.astype(np.float32) / scale.reshape(shape).astype(np.float32))
        codes = np.clip(steps, -128, 127).astype(zero.dtype)
        graph.constant(node.output[0], codes)
        graph.remove(node)


def _fold_scales(graph: Graph) -> None:
    """Folds a Mul by a positive number into the scale of the DQ before it: the same integers."""
    for node in graph.of_type("Mul"):
        parts = [graph.constants.get(name) for name in node.input]
        if (parts[0] is None) == (parts[1] is None):
            continue
        at = 0 if parts[0] is None else 1
        factor = parts[1 - at]
        source = graph.producers.get(node.input[at])
        assert factor is not None
        if source is None or source.op_type != "DequantizeLinear" or factor.size != 1:
            continue
        if float(factor.reshape(())) <= 0:  # no engine takes a scale that is not positive
            continue
        scale = float(graph.constants[source.input[1]]) * float(factor.reshape(()))
        name = graph.constant(f"{node.output[0]}_scale", np.float32(scale))
        source_copy = onnx.helper.make_node(
            "DequantizeLinear",
            [source.input[0], name, source.input[2]],
            [node.output[0]],
            name=f"{node.output[0]}_DequantizeLinear",
        )
        graph.insert(source_copy, after=node)
        graph.remove(node)


def _shuffle_blocks(graph: Graph) -> None:
    """Makes each pixel shuffle move whole pixels, by reordering the convolution's channels.

    With the channels of one output pixel side by side (DCR), engines that keep channels last copy
    blocks of memory instead of single bytes.
    """
    for node in graph.of_type("DepthToSpace"):
        conv = _rounded_by(graph, node)
        mode = next(attribute for attribute in node.attribute if attribute.name == "mode")
        if conv is None or conv.op_type != "Conv" or mode.s != b"CRD":
            continue
        block = next(attribute.i for attribute in node.attribute if attribute.name == "blocksize")
        rounded_weight = graph.producers.get(conv.input[1])
        reordered = [(conv, 2)]
        reordered += (
            [(conv, 1)] if rounded_weight is None else [(rounded_weight, i) for i in range(3)]
        )
        for user, index in reordered:
            channels = graph.constants[user.input[index]]
            by_pixel = channels.reshape(-1, block * block, *channels.shape[1:]).swapaxes(0, 1)
            name = f"{user.input[index]}_by_pixel"  # the old one may have other users
            user.input[index] = graph.constant(name, by_pixel.reshape(channels.shape))
        mode.s = b"DCR"


def _rounded_by(graph: Graph, node: NodeProto) -> NodeProto | None:
    """The node that makes the input of `node`, seen through one Q -> DQ where there is one."""
    source = graph.producers.get(node.input[0])
    for op_type in ("DequantizeLinear", "QuantizeLinear"):
        if source is not None and source.op_type == op_type:
            source = graph.producers.get(source.input[0])
    return source


def _round_moved(graph: Graph) -> None:
    """Adds Q -> DQ, which change nothing, behind nodes that move values rounded already.

    Engines then move the integers, and need no float tensor in between.
    """
    for node in list(graph.nodes):
        if node.op_type not in MOVING:
            continue
        tensors = [name for name in node.input if name and name not in graph.constants]
        sources = [graph.producers.get(name) for name in tensors]
        found = [
            graph.rounding(source)
            for source in sources
            if source is not None and source.op_type == "DequantizeLinear"
        ]
        if len(found) == len(sources) and len(set(found)) == 1:
            source = sources[0]
            assert source is not None
            _insert_pair(graph, node, parameters=list(source.input[1:3]))


def _insert_pair(graph: Graph, after: NodeProto, *, parameters: list[str]) -> None:
    value = after.output[0]
    consumers = graph.consumers(value)
    codes, rounded = f"{value}_codes", f"{value}_rounded"
    make = onnx.helper.make_node
    quantize = make("QuantizeLinear", [value, *parameters], [codes], name=f"{value}_Q")
    dequantize = make("DequantizeLinear", [codes, *parameters], [rounded], name=f"{value}_DQ")
    graph.redirect(value, rounded, consumers)
    graph.insert(quantize, after=after)
    graph.insert(dequantize, after=quantize)


def _take_bytes(graph: Graph) -> None:
    """Feeds input bytes straight to the DQ: scaled by 1/255 and rounded, they are themselves."""
    for quantize, dequantize in list(_pairs(graph)):
        scale = graph.producers.get(quantize.input[0])
        if scale is None or scale.op_type != "Mul":
            continue
        name, factor = _split(graph, scale)
        rounding = graph.rounding(quantize)
        moved = graph.producers.get(name)
        cast = graph.producers.get(moved.input[0]) if moved is not None else None
        if moved is None or cast is None or moved.op_type != "Transpose":
            continue
        if cast.op_type != "Cast" or rounding.zero_point != 0:
            continue
        if abs(factor / rounding.scale - 1) > 1e-6:
            continue
        moved.input[0] = cast.input[0]
        dequantize.input[0] = moved.output[0]
        for node in (cast, scale, quantize):
            graph.remove(node)


def _split(graph: Graph, product: NodeProto) -> tuple[str, float]:
    """The tensor and the constant factor of a Mul; 0 where it has none."""
    for name, other in (tuple(product.input), tuple(product.input)[::-1]):
        factor = graph.constants.get(other)
        if factor is not None and factor.size == 1:
            return name, float(factor.reshape(()))
    return product.input[0], 0.0


# Activation -> what is below gives (almost) zero, so that clipping there is harmless.
FLAT_BELOW = {"Sigmoid": -8.0, "HardSwish": -3.0}


def _round_before_activations(graph: Graph) -> None:
    """Adds Q -> DQ before SiLU and Hardswish, without which ONNX Runtime uses no INT8.

    It runs a convolution in INT8 only where its own output is rounded. The upper bound there is
    that of the activation's output, for both functions approach the identity. SiLU's gate is
    rounded as well, to steps of 1/255.
    """
    for node in graph.of_type(*FLAT_BELOW):
        conv = graph.producers.get(node.input[0])
        gated = _gated_by(graph, node)
        rounded = _consumer(graph, gated.output[0], "QuantizeLinear")
        if conv is None or conv.op_type != "Conv" or rounded is None:
            continue
        if not _is_int8(graph, conv):
            continue
        low, high = FLAT_BELOW[node.op_type], graph.rounding(rounded).high
        scale = (max(high, 1.0) - low) / 255
        _insert_pair(graph, conv, parameters=_parameters(graph, conv, scale, round(-low / scale)))
        if node.op_type == "Sigmoid":
            _insert_pair(graph, node, parameters=_parameters(graph, node, 1 / 255, 0))


def _gated_by(graph: Graph, node: NodeProto) -> NodeProto:
    """The product that a SiLU ends with; the node itself for other activations."""
    if node.op_type != "Sigmoid":
        return node
    return _consumer(graph, node.output[0], "Mul") or node


def _consumer(graph: Graph, name: str, op_type: str) -> NodeProto | None:
    return next((node for node in graph.consumers(name) if node.op_type == op_type), None)


def _is_int8(graph: Graph, conv: NodeProto) -> bool:
    weight = graph.producers.get(conv.input[1])
    return weight is not None and weight.op_type == "DequantizeLinear"


def _parameters(graph: Graph, node: NodeProto, scale: float, zero_point: int) -> list[str]:
    name = node.output[0]
    return [
        graph.constant(f"{name}_scale", np.float32(scale)),
        graph.constant(f"{name}_zero", np.uint8(zero_point)),
    ]


def _give_relu_its_zero(graph: Graph) -> None:
    """Makes the lowest code zero behind a Relu, so that ONNX Runtime fuses Conv -> Relu.

    A tensor behind a Relu that shares its range with signed ones gets the non-negative part of the
    range, with all 256 levels; the concatenation brings it to the shared one.
    """
    for quantize, dequantize in list(_pairs(graph)):
        rounding, source = graph.rounding(quantize), graph.producers.get(quantize.input[0])
        if source is None or source.op_type != "Relu" or rounding.zero_point == 0:
            continue
        scale, zero = _parameters(graph, quantize, rounding.high / 255, 0)
        for node in (quantize, dequantize):
            node.input[1], node.input[2] = scale, zero


def _keep_floats(graph: Graph) -> None:
    """Hides float convolutions between two roundings, which ONNX Runtime would quantize coarsely.

    A Clip without bounds, which changes nothing, hides the one in front from it.
    """
    for conv in graph.of_type("Conv"):
        source = graph.producers.get(conv.input[0])
        if _is_int8(graph, conv) or source is None or source.op_type != "DequantizeLinear":
            continue
        relu = _consumer(graph, conv.output[0], "Relu") or conv
        if _consumer(graph, relu.output[0], "QuantizeLinear") is not None:
            hidden = f"{conv.output[0]}_input"
            graph.insert(onnx.helper.make_node("Clip", [conv.input[0]], [hidden]), after=source)
            conv.input[0] = hidden


def _quantize_biases(graph: Graph) -> None:
    """Makes the biases of INT8 convolutions int32, in steps of input scale times weight scale.

    That is how engines add them; the rounding is that of one step of the sum.
    """
    for conv in graph.of_type("Conv"):
        source = graph.producers.get(conv.input[0])
        weight = graph.producers.get(conv.input[1])
        bias = graph.constants.get(conv.input[2]) if len(conv.input) > 2 else None
        if bias is None or source is None or weight is None or not _is_int8(graph, conv):
            continue
        if source.op_type != "DequantizeLinear":
            continue
        scales = (graph.constants[node.input[1]].astype(np.float64) for node in (source, weight))
        steps = np.broadcast_to(math.prod(scales), bias.shape)
        codes = np.rint(bias.astype(np.float64) / steps)
        if np.abs(codes).max() > INT32_MOST:
            continue
        name = f"{conv.output[0]}_bias"
        inputs = [
            graph.constant(f"{name}_codes", codes.astype(np.int32)),
            graph.constant(f"{name}_scale", steps.astype(np.float32)),
        ]
        dequantize = onnx.helper.make_node(
            "DequantizeLinear", inputs, [f"{name}_rounded"], name=f"{name}_DQ", axis=0
        )
        graph.insert(dequantize, after=weight)
        conv.input[2] = dequantize.output[0]


def _make_symmetric(graph: Graph) -> None:
    """Makes activations int8 with zero point 0 over the same bounds, as TensorRT needs them."""
    done: dict[str, str] = {}
    zero = graph.constant("int8_zero", np.int8(0))
    for node in graph.of_type("QuantizeLinear", "DequantizeLinear"):
        if graph.constants[node.input[2]].dtype != np.uint8:
            continue
        rounding, old = graph.rounding(node), f"{node.input[1]}/{node.input[2]}"
        if old not in done:
            largest = max(rounding.high, -rounding.low)
            done[old] = graph.constant(f"{old}_symmetric", np.float32(largest / 127))
        node.input[1], node.input[2] = done[old], zero
