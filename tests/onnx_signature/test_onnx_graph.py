"""The walk over an ONNX file says what the onnx package says, and trusts nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, ValueInfoProto, helper

from detkit.artifact.artifact import TensorInfo
from detkit.core.errors import ArtifactError
from detkit.onnx_signature.onnx_graph import read_graph


def save(
    path: Path,
    *,
    names: str = "",
    weights: Sequence[ValueInfoProto] = (),
    nodes: Sequence[str] = ("Identity",),
    dim: str | int = "batch",
) -> Path:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT16, [dim, 3, None, 64])
    y = helper.make_tensor_value_info("y", TensorProto.INT64, None)
    graph = helper.make_graph(
        [helper.make_node(name, ["x"], ["y"]) for name in nodes], "g", [x, *weights], [y]
    )
    for value in weights:
        kind = value.type.tensor_type.elem_type
        graph.initializer.append(helper.make_tensor(value.name, kind, [1], [1]))
    model = helper.make_model(graph)
    if names:
        helper.set_model_props(model, {"names": names, "author": "me"})
    onnx.save(model, path)
    return path


def test_inputs_outputs_and_metadata_are_listed(tmp_path: Path) -> None:
    graph = read_graph(save(tmp_path / "m.onnx", names="['a', 'b']"))
    assert graph.inputs == (TensorInfo(name="x", dtype="float16", shape=("batch", 3, "?", 64)),)
    assert graph.outputs == (TensorInfo(name="y", dtype="int64", shape=()),)
    assert graph.metadata == {"names": "['a', 'b']", "author": "me"}
    assert (graph.precision, graph.class_names) == ("fp32", ("a", "b"))


def test_a_negative_dimension_is_unknown(tmp_path: Path) -> None:
    assert read_graph(save(tmp_path / "m.onnx", dim=-1)).inputs[0].shape[0] == "?"


def test_weights_that_are_listed_as_inputs_need_not_be_fed(tmp_path: Path) -> None:
    weight = helper.make_tensor_value_info("w", TensorProto.FLOAT16, [1])
    graph = read_graph(save(tmp_path / "m.onnx", weights=[weight]))
    assert [tensor.name for tensor in graph.inputs] == ["x"]
    assert graph.precision == "fp16"


@pytest.mark.parametrize("operator", ["QuantizeLinear", "QLinearConv", "DynamicQuantizeLinear"])
def test_a_graph_that_quantizes_is_int8(tmp_path: Path, operator: str) -> None:
    assert read_graph(save(tmp_path / "m.onnx", nodes=(operator,))).precision == "int8"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("{1: 'b', 0: 'a'}", ("a", "b")),
        ('{"0": "a", "1": "b"}', ("a", "b")),
        ("{1: 'b'}", ()),
        ("{'x': 'b'}", ()),
        ("__import__('os').getcwd()", ()),
        ("a, b", ()),
        ("(" * 10_000, ()),
        ("7", ()),
    ],
)
def test_class_names_are_read_as_plain_values_or_not_at_all(
    tmp_path: Path, text: str, names: tuple[str, ...]
) -> None:
    assert read_graph(save(tmp_path / "m.onnx", names=text)).class_names == names


def test_a_file_cut_short_is_refused_unless_its_graph_is_whole(tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx")
    data, whole, refused = path.read_bytes(), read_graph(path), 0
    for length in range(len(data)):
        path.write_bytes(data[:length])
        try:
            assert read_graph(path) == whole
        except ArtifactError:
            refused += 1
    assert refused > len(data) // 2
