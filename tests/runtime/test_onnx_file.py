"""What an ONNX file may hold before an engine sees it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from detkit.artifact.artifact import read_manifest, write_artifact
from detkit.core.errors import ArtifactError
from detkit.core.protobuf import bytes_field
from detkit.runtime.session import Session


def write_nested(path: Path, manifest_json: str) -> None:
    graph = b""
    for _ in range(1500):
        graph = bytes_field(1, bytes_field(5, bytes_field(6, graph)))  # node, attribute, graph
    entry = bytes_field(1, b"detkit") + bytes_field(2, manifest_json.encode())
    path.write_bytes(bytes_field(7, graph) + bytes_field(14, entry))


@pytest.mark.parametrize("location", ["weights.bin", "../secret.bin", "/etc/passwd"])
def test_tensors_in_other_files_are_refused_wherever_they_lie(
    open_graph: Callable[..., Session],
    cell_model: Callable[..., Path],
    rewrite: Callable[..., Path],
    location: str,
) -> None:
    def point_outside(graph: onnx.GraphProto) -> None:
        tensor = graph.initializer.add(name="w", data_type=1, dims=[64])
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)

    path = rewrite(cell_model(), point_outside)
    (path.parent / "weights.bin").write_bytes(bytes(256))
    with pytest.raises(ArtifactError, match="other files"):
        open_graph(path)


def test_tensors_in_other_files_are_found_in_node_attributes_too(
    open_graph: Callable[..., Session],
    cell_model: Callable[..., Path],
    rewrite: Callable[..., Path],
) -> None:
    def point_outside(graph: onnx.GraphProto) -> None:
        constant = next(node for node in graph.node if node.op_type == "Constant")
        tensor = onnx.TensorProto(name="w", data_type=1, dims=[1])
        tensor.external_data.add(key="location", value="weights.bin")
        constant.attribute[0].CopyFrom(onnx.helper.make_attribute("value", tensor))

    with pytest.raises(ArtifactError, match="other files"):
        open_graph(rewrite(cell_model(), point_outside))


def test_a_file_that_nests_graphs_without_end_is_refused(
    open_graph: Callable[..., Session], cell_model: Callable[..., Path]
) -> None:
    path = cell_model()
    write_artifact(path, read_manifest(path), write_nested)
    with pytest.raises(ArtifactError):
        open_graph(path)
