"""A float32 graph -> the same graph in FP16, as a strongly typed TensorRT network reads it.

What lives here: which nodes become FP16, and the Casts between them and the rest. TensorRT 11 has
no precision flags, and TensorRT 10 needs none: the types in the graph are the precision.

FP16 is what lies between the first convolution and the last, and the reshapes after it. What
prepares the image and what decodes (softmax, expectation, sigmoid, boxes) stays FP32, because
FP16 knows coordinates above 512 only to half a pixel; inputs and outputs stay as they were.
int8 tensors stay int8. A node whose constants FP16 cannot hold stays FP32: one with a weight above
65504, or with a Q/DQ scale below the least normal number, 6.1e-5, where digits are lost.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx.shape_inference
import onnx.version_converter
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

CONVOLUTIONS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
# They move values or cut them off and compute nothing: their output is as exact as their input.
MOVES = frozenset(
    "Clip Concat DepthToSpace DequantizeLinear Expand Flatten Gather Identity MaxPool Pad"
    " QuantizeLinear Relu Reshape Resize Slice SpaceToDepth Split Squeeze Tile Transpose"
    " Unsqueeze".split()
)
QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
ANY_TYPE = frozenset({"Shape", "Size"})
FLOAT_INPUTS = {"Resize": (1, 2)}  # region of interest and scales: float32 by definition
FIRST_HALF_QDQ_OPSET = 19  # before it, Q/DQ took float32 only
FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16
SUFFIX: dict[int, str] = {FLOAT: "/float", HALF: "/half"}
LARGEST_HALF = float(np.finfo(np.float16).max)  # 65504
LEAST_NORMAL_HALF = float(np.finfo(np.float16).tiny)  # 6.1e-5; below, digits are lost


def to_half(graph: ModelProto) -> ModelProto:
    """An FP16 copy of `graph` with the same inputs, outputs and metadata.

    A DequantizeLinear takes the type of the node that reads it, so that no Cast parts the two; one
    with readers of both types is there twice.
    """
    source = _prepared(graph)
    half_nodes = _half_nodes(source)
    rewriter = _Rewriter(source)
    for index, node in enumerate(source.graph.node):
        rewriter.add(node, half=index in half_nodes)
    for value in source.graph.output:
        rewriter.finish(value.name)
    del source.graph.node[:], source.graph.initializer[:], source.graph.value_info[:]
    source.graph.node.extend(rewriter.nodes)
    read = {name for node in rewriter.nodes for name in node.input}
    source.graph.initializer.extend(t for t in rewriter.tensors.values() if t.name in read)
    return source


def _prepared(graph: ModelProto) -> ModelProto:
    """A copy with constants as initialisers, all types inferred, and an opset with FP16 Q/DQ."""
    copy = ModelProto()
    copy.CopyFrom(graph)
    is_quantized = any(node.op_type in (QUANTIZE, DEQUANTIZE) for node in copy.graph.node)
    if is_quantized and copy.opset_import[0].version < FIRST_HALF_QDQ_OPSET:
        copy = onnx.version_converter.convert_version(copy, FIRST_HALF_QDQ_OPSET)
        copy.ir_version = max(copy.ir_version, helper.find_min_ir_version_for(copy.opset_import))
        del copy.metadata_props[:]
        copy.metadata_props.extend(graph.metadata_props)
    constants = [(node, _constant(node)) for node in copy.graph.node]
    del copy.graph.node[:]
    for node, value in constants:
        if value is None:
            copy.graph.node.append(node)
        else:
            copy.graph.initializer.append(numpy_helper.from_array(value, node.output[0]))
    return onnx.shape_inference.infer_shapes(copy, strict_mode=True)


def _constant(node: NodeProto) -> npt.NDArray[Any] | None:
    """The value of a Constant node that may be float; None of any other node."""
    if node.op_type != "Constant":
        return None
    value = helper.get_attribute_value(node.attribute[0])
    if isinstance(value, TensorProto):
        return numpy_helper.to_array(value)
    is_float = node.attribute[0].name in ("value_float", "value_floats")
    return np.array(value, np.float32) if is_float else None


# --- which nodes ---------------------------------------------------------------------------------


def _half_nodes(model: ModelProto) -> set[int]:
    """Indices of the nodes to compute in FP16; DequantizeLinear follows its readers instead."""
    nodes = model.graph.node
    kept_float = _without_fp16_constants(model)
    after = _reach(nodes, CONVOLUTIONS, forward=True)
    before = _reach(nodes, CONVOLUTIONS, forward=False)
    half: set[int] = set()
    half_tensors: set[str] = set()
    float_tensors: set[str] = set()
    for index, node in enumerate(nodes):
        if index in kept_float or (_passes_on(node) and node.input[0] in float_tensors):
            if node.op_type != QUANTIZE:
                float_tensors.update(node.output)
            continue
        inside = index in after and index in before
        moved = node.op_type in MOVES and not half_tensors.isdisjoint(node.input)
        if inside or moved:
            half_tensors.update(node.output)
            if node.op_type != DEQUANTIZE:
                half.add(index)
    return half


def _passes_on(node: NodeProto) -> bool:
    """Whether a node stays FP32 behind one that must, so that an engine can still fuse the two."""
    return node.op_type in MOVES and node.op_type != DEQUANTIZE


def _reach(nodes: Iterable[NodeProto], kinds: frozenset[str], *, forward: bool) -> set[int]:
    """Indices of the nodes of these kinds and of all that lie behind them (or before them)."""
    numbered = list(enumerate(nodes))
    reached: set[int] = set()
    tensors: set[str] = set()
    for index, node in numbered if forward else reversed(numbered):
        arriving, leaving = (node.input, node.output) if forward else (node.output, node.input)
        if node.op_type in kinds or not tensors.isdisjoint(arriving):
            reached.add(index)
            tensors.update(leaving)
    return reached


def _without_fp16_constants(model: ModelProto) -> set[int]:
    """Indices of the nodes that read a constant, or a dequantized tensor, that FP16 cannot hold."""
    unfit = {t.name for t in model.graph.initializer if t.data_type == FLOAT and not _fits(t)}
    scales = {n.input[1] for n in model.graph.node if n.op_type in (QUANTIZE, DEQUANTIZE)}
    unfit |= {t.name for t in model.graph.initializer if t.name in scales and _underflows(t)}
    found: set[int] = set()
    for index, node in enumerate(model.graph.node):
        if not unfit.isdisjoint(node.input):
            found.add(index)
            if node.op_type == DEQUANTIZE:
                unfit.update(node.output)
    return found


def _fits(tensor: TensorProto) -> bool:
    return bool((np.abs(numpy_helper.to_array(tensor)) <= LARGEST_HALF).all())


def _underflows(scale: TensorProto) -> bool:
    return bool((numpy_helper.to_array(scale) < LEAST_NORMAL_HALF).any())


# --- rewriting -----------------------------------------------------------------------------------


class _Rewriter:
    """Appends nodes in the type asked for, with the Casts and constants they need before them."""

    def __init__(self, model: ModelProto) -> None:
        graph = model.graph
        self.nodes: list[NodeProto] = []
        self.tensors = {tensor.name: tensor for tensor in graph.initializer}
        values = (*graph.input, *graph.value_info, *graph.output)
        self.floats = {v.name for v in values if v.type.tensor_type.elem_type == FLOAT}
        self.floats |= {t.name for t in graph.initializer if t.data_type == FLOAT}
        self.outputs = {value.name for value in graph.output}
        self.dequantized: dict[str, NodeProto] = {}
        # original name -> what it is called as FLOAT and as HALF, once it is there
        self.names: dict[str, dict[int, str]] = {
            name: {FLOAT: name}
            for name in (*self.tensors, *(v.name for v in graph.input))
            if name in self.floats
        }

    def add(self, node: NodeProto, *, half: bool) -> None:
        if node.op_type == DEQUANTIZE:
            self.dequantized[node.output[0]] = node
        else:
            self._append(node, HALF if half else FLOAT)

    def finish(self, output: str) -> None:
        """Makes sure that the graph's output is there under its name, as it was."""
        if output in self.floats:
            self._named(output, FLOAT)

    def _append(self, node: NodeProto, kind: int) -> None:
        """Appends the node with float inputs and outputs of `kind`."""
        copy = NodeProto()
        copy.CopyFrom(node)
        for index, name in enumerate(node.input):
            if name not in self.floats:
                continue
            as_it_comes = node.op_type in ANY_TYPE and name in self.names
            always_float = index in FLOAT_INPUTS.get(node.op_type, ())
            wanted = FLOAT if always_float else kind
            copy.input[index] = (
                next(iter(self.names[name].values())) if as_it_comes else self._named(name, wanted)
            )
        for index, name in enumerate(node.output):
            if name in self.floats:
                copy.output[index] = self._new_name(name, kind)
        for attribute in copy.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i == FLOAT:
                attribute.i = kind
        self.nodes.append(copy)

    def _named(self, name: str, kind: int) -> str:
        """The name of the tensor as `kind`; the tensor is made first if it is not there."""
        known = self.names.setdefault(name, {})
        if kind in known:
            return known[kind]
        if name in self.dequantized:
            dequantize = NodeProto()
            dequantize.CopyFrom(self.dequantized[name])
            dequantize.name = name + SUFFIX[kind]
            self._append(dequantize, kind)
        elif name in self.tensors:
            value = numpy_helper.to_array(self.tensors[name]).astype(np.float16)
            tensor = numpy_helper.from_array(value, self._new_name(name, kind))
            self.tensors[tensor.name] = tensor
        else:
            (source,) = known.values()
            target = self._new_name(name, kind)
            self.nodes.append(helper.make_node("Cast", [source], [target], target, to=kind))
        return known[kind]

    def _new_name(self, name: str, kind: int) -> str:
        """The tensor's own name, if it is the first of its types or an output in its own type."""
        known = self.names.setdefault(name, {})
        is_own = kind == FLOAT if name in self.outputs else not known
        known[kind] = name if is_own else name + SUFFIX[kind]
        return known[kind]
