"""A graph under rewriting: its nodes with their producers and consumers, constants as arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from onnx import GraphProto, NodeProto, numpy_helper

Values = npt.NDArray[np.generic]


@dataclass(frozen=True)
class Rounding:
    """Parameters of a Q or DQ node on an activation."""

    scale: float
    zero_point: int

    @property
    def low(self) -> float:
        return -self.zero_point * self.scale

    @property
    def high(self) -> float:
        return (255 - self.zero_point) * self.scale


class Graph:
    """A GraphProto with its constants as arrays, and the producers and consumers of each tensor."""

    def __init__(self, proto: GraphProto) -> None:
        self.proto = proto
        self.constants: dict[str, Values] = {
            tensor.name: numpy_helper.to_array(tensor) for tensor in proto.initializer
        }
        self.nodes: list[NodeProto] = []
        for node in proto.node:
            if node.op_type == "Constant":
                self.constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
            else:
                self.nodes.append(node)
        self.producers = {name: node for node in self.nodes for name in node.output}

    def consumers(self, name: str) -> list[NodeProto]:
        return [node for node in self.nodes if name in node.input]

    def of_type(self, *op_types: str) -> list[NodeProto]:
        return [node for node in self.nodes if node.op_type in op_types]

    def rounding(self, node: NodeProto) -> Rounding:
        scale, zero_point = (self.constants[name] for name in node.input[1:3])
        return Rounding(float(scale), int(zero_point))

    def constant(self, name: str, value: Values) -> str:
        """Adds a constant and returns its name; engines fuse scalar parameters of Q and DQ only."""
        self.constants[name] = value
        return name

    def insert(self, node: NodeProto, after: NodeProto) -> None:
        self.nodes.insert(self.nodes.index(after) + 1, node)
        self.producers.update(dict.fromkeys(node.output, node))

    def remove(self, node: NodeProto) -> None:
        self.nodes.remove(node)

    def redirect(self, old: str, new: str, consumers: list[NodeProto]) -> None:
        for node in consumers:
            for index, name in enumerate(node.input):
                if name == old:
                    node.input[index] = new

    def finish(self) -> None:
        """Writes nodes and used constants back, the latter as initializers.

        Tensors get short names: in a small network the traced ones are 3 % of an INT8 file. Nodes
        keep theirs, which say where in the network they are from.
        """
        ends = {value.name for value in (*self.proto.input, *self.proto.output)}
        used = dict.fromkeys(name for node in self.nodes for name in (*node.input, *node.output))
        inside = (name for name in used if name and name not in ends)
        short = {name: f"t{number}" for number, name in enumerate(inside)}
        for node in self.nodes:
            for names in (node.input, node.output):
                names[:] = [short.get(name, name) for name in names]
        del self.proto.node[:], self.proto.initializer[:], self.proto.value_info[:]
        self.proto.node.extend(self.nodes)
        self.proto.initializer.extend(
            numpy_helper.from_array(value, short.get(name, name))
            for name, value in self.constants.items()
            if name in used or name in ends
        )
