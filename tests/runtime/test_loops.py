"""Graphs that may run for ever: found wherever the loop lies, and ended or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from detkit.core.errors import ArtifactError
from detkit.engines.onnxruntime import session as onnxruntime
from detkit.engines.openvino import session as openvino
from detkit.runtime.onnx_file import has_loops
from detkit.runtime.session import SessionOptions

OPTIONS = SessionOptions(threads=1)


def value(
    name: str, dtype: int = TensorProto.FLOAT, shape: tuple[int, ...] = (1,)
) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def graph_with_loop(trips: int, *, nested: bool = False) -> onnx.GraphProto:
    """`images` (1,) plus one for each trip; `nested` in a branch."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["on"]),
            helper.make_node("Add", ["x", "one"], ["y"]),
        ],
        "body",
        [value("i", TensorProto.INT64, ()), value("go", TensorProto.BOOL, ()), value("x")],
        [value("on", TensorProto.BOOL, ()), value("y")],
        [helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])],
    )
    nodes = [helper.make_node("Loop", ["trips", "", "images"], ["boxes"], body=body)]
    if nested:
        branch = helper.make_graph(nodes, "branch", [], [value("boxes")])
        other = helper.make_graph(
            [helper.make_node("Identity", ["images"], ["same"])], "other", [], [value("same")]
        )
        nodes = [helper.make_node("If", ["yes"], ["boxes"], then_branch=branch, else_branch=other)]
    constants = [
        helper.make_tensor("trips", TensorProto.INT64, [], [trips]),
        helper.make_tensor("yes", TensorProto.BOOL, [], [True]),
    ]
    return helper.make_graph(nodes, "graph", [value("images")], [value("boxes")], constants)


def write(path: Path, graph: onnx.GraphProto) -> Path:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("nested", [False, True])
def test_a_loop_is_found_wherever_it_lies(tmp_path: Path, nested: bool) -> None:
    assert has_loops(write(tmp_path / "x.onnx", graph_with_loop(3, nested=nested)))


def test_a_graph_without_loops_has_none(tmp_path: Path) -> None:
    node = helper.make_node("Identity", ["images"], ["boxes"], name="Loop")
    graph = helper.make_graph([node], "Loop", [value("images")], [value("boxes")])
    assert not has_loops(write(tmp_path / "x.onnx", graph))


def test_a_loop_that_ends_is_run(tmp_path: Path) -> None:
    runner = onnxruntime.OnnxRuntimeRunner(write(tmp_path / "x.onnx", graph_with_loop(3)), OPTIONS)
    (found,) = runner.run(np.zeros(1, np.float32), ["boxes"])
    assert found.tolist() == [3]


@pytest.mark.parametrize("nested", [False, True])
def test_a_run_without_end_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nested: bool
) -> None:
    path = write(tmp_path / "x.onnx", graph_with_loop(1 << 62, nested=nested))
    monkeypatch.setattr(onnxruntime, "MAX_LOOP_S", 0.1)
    runner = onnxruntime.OnnxRuntimeRunner(path, OPTIONS)
    with pytest.raises(ArtifactError, match=r"x\.onnx does not end: it has a loop"):
        runner.run(np.zeros(1, np.float32), ["boxes"])


def test_openvino_which_cannot_be_stopped_refuses_a_loop(tmp_path: Path) -> None:
    path = write(tmp_path / "x.onnx", graph_with_loop(3, nested=True))
    with pytest.raises(ArtifactError, match="openvino cannot be stopped in") as caught:
        openvino.OpenVinoRunner(path, OPTIONS)
    assert caught.value.hint.startswith("--runtime onnxruntime")
