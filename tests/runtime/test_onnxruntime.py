"""Every form of export through the real file: raw or suppressed, float or uint8 input."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import onnx
import pytest

from detkit.artifact import read_manifest, write_artifact
from detkit.boxes import EVAL_NMS, NmsConfig
from detkit.errors import ArtifactError, BackendError, UsageError
from detkit.runtime import (
    Placement,
    RawOutputs,
    SuppressedOutputs,
    SuppressingSession,
    infer,
    open_session,
)


def picture(*cells: tuple[int, int, int]) -> np.ndarray:
    """(64, 64, 3) uint8 of four 32x32 cells, in rows."""
    grid = np.array(cells, np.uint8).reshape(2, 2, 3)
    return grid.repeat(32, axis=0).repeat(32, axis=1)


RED, GREEN, GRAY = (255, 0, 0), (0, 230, 0), (114, 114, 114)
PICTURES = (picture(RED, GRAY, GRAY, GREEN), picture(GRAY, GRAY, GREEN, GRAY))
PIXELS = np.stack(PICTURES)
IMAGES = (PIXELS.transpose(0, 3, 1, 2) / 255).astype(np.float32)
EXPECTED = np.zeros((2, 4, 2))
EXPECTED[0, 0, 0], EXPECTED[0, 3, 1], EXPECTED[1, 2, 1] = 1, 460 / 255 - 1, 460 / 255 - 1


def rewrite(path: Path, change) -> Path:
    """The artifact with its graph changed, sealed again."""
    model, manifest = onnx.load(path), read_manifest(path)
    change(model.graph)

    def save(graph, partial, text):
        onnx.helper.set_model_props(graph, {"detkit": text})
        onnx.save(graph, partial)

    write_artifact(path, manifest, functools.partial(save, model))
    return path


def field(number: int, content: bytes) -> bytes:
    """A length-delimited protobuf field."""
    length, size = b"", len(content)
    while True:
        size, low = size >> 7, size & 0x7F
        length += bytes([low | (0x80 if size else 0)])
        if not size:
            return bytes([number << 3 | 2]) + length + content


def write_nested(path: Path, manifest_json: str) -> None:
    graph = b""
    for _ in range(1500):
        graph = field(1, field(5, field(6, graph)))  # node, attribute, graph
    entry = field(1, b"detkit") + field(2, manifest_json.encode())
    path.write_bytes(field(7, graph) + field(14, entry))


@pytest.mark.parametrize("uint8", [False, True])
def test_raw_outputs_are_those_worked_out_by_hand(cell_model, uint8):
    boxes, scores = open_session(cell_model(uint8=uint8)).run(IMAGES)
    assert boxes.shape == (2, 4, 4)
    assert boxes[1, 2].tolist() == [0, 32, 32, 64]
    assert np.allclose(scores, EXPECTED, atol=1e-6)


def test_a_uint8_graph_takes_the_pixels_themselves_with_equal_results(cell_model):
    session = open_session(cell_model(uint8=True))
    from_pixels, from_floats = infer(session, PIXELS), infer(session, IMAGES)
    assert isinstance(from_pixels, RawOutputs)
    assert np.array_equal(from_pixels.scores, from_floats.scores)


def test_a_graph_with_nms_gives_the_detections_of_the_one_without(cell_model):
    raw = open_session(cell_model())
    suppressing = open_session(cell_model("nms.onnx", nms=True))
    assert isinstance(suppressing, SuppressingSession)
    assert not isinstance(raw, SuppressingSession)
    assert isinstance(infer(suppressing, IMAGES), SuppressedOutputs)
    pairs = zip(
        infer(raw, IMAGES).detections(EVAL_NMS),
        infer(suppressing, IMAGES).detections(EVAL_NMS),
        strict=True,
    )
    for ours, theirs in pairs:
        assert np.array_equal(ours.boxes_xyxy, theirs.boxes_xyxy)
        assert np.array_equal(ours.scores, theirs.scores)
        assert ours.classes.tolist() == theirs.classes.tolist()
        assert len(ours) > 0


def test_a_graph_with_nms_refuses_to_give_raw_scores(cell_model):
    with pytest.raises(ArtifactError, match="NMS in the graph") as caught:
        open_session(cell_model(nms=True)).run(IMAGES)
    assert "--nms" in caught.value.hint


def test_suppressed_outputs_are_cut_sorted_and_thresholded():
    outputs = SuppressedOutputs(
        counts=np.array([3, 0]),
        boxes=np.arange(32, dtype=np.float32).reshape(2, 4, 4),
        scores=np.array([[0.2, 0.9, 0.5, 0.99], [0.9, 0, 0, 0]], np.float32),
        classes=np.array([[0, 1, 2, 3], [0, 0, 0, 0]]),
    )
    first, second = outputs.detections(NmsConfig(score_threshold=0.2))
    assert first.classes.tolist() == [1, 2]  # not 3, which is padding; not 0, which is not above
    assert first.boxes_xyxy.tolist() == [[4, 5, 6, 7], [8, 9, 10, 11]]
    assert len(second) == 0
    assert len(outputs.detections(NmsConfig(max_detections=1))[0]) == 1


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_outputs_that_are_not_finite_are_refused_not_dropped(bad):
    scores = np.zeros((1, 4, 2), np.float32)
    scores[0, 2, 1] = bad
    with pytest.raises(ArtifactError, match="NaN or Inf"):
        RawOutputs(np.zeros((1, 4, 4), np.float32), scores).detections(EVAL_NMS)


def test_a_batch_the_graph_refuses_is_told_with_its_shape(cell_model):
    session = open_session(cell_model())
    with pytest.raises(ArtifactError, match="input of 1x3x64x96"):
        session.run(np.zeros((1, 3, 64, 96), np.float32))


@pytest.mark.parametrize("location", ["weights.bin", "../secret.bin", "/etc/passwd"])
def test_tensors_in_other_files_are_refused_wherever_they_lie(cell_model, location):
    def point_outside(graph):
        tensor = graph.initializer.add(name="w", data_type=1, dims=[64])
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)

    path = rewrite(cell_model(), point_outside)
    (path.parent / "weights.bin").write_bytes(bytes(256))
    with pytest.raises(ArtifactError, match="other files"):
        open_session(path)


def test_tensors_in_other_files_are_found_in_node_attributes_too(cell_model):
    def point_outside(graph):
        constant = next(node for node in graph.node if node.op_type == "Constant")
        tensor = onnx.TensorProto(name="w", data_type=1, dims=[1])
        tensor.external_data.add(key="location", value="weights.bin")
        constant.attribute[0].CopyFrom(onnx.helper.make_attribute("value", tensor))

    with pytest.raises(ArtifactError, match="other files"):
        open_session(rewrite(cell_model(), point_outside))


def test_a_damaged_file_is_refused(cell_model):
    path = cell_model()
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)
    with pytest.raises(ArtifactError):
        open_session(path)


def test_a_graph_without_the_outputs_of_the_contract_is_refused(cell_model):
    def rename(graph):
        graph.output[1].name = "by_cell"
        graph.output[1].type.CopyFrom(onnx.helper.make_tensor_type_proto(1, None))

    with pytest.raises(ArtifactError, match="no output scores"):
        open_session(rewrite(cell_model(), rename))


def test_a_graph_onnxruntime_cannot_load_is_refused(cell_model):
    def break_graph(graph):
        graph.node[0].op_type = "NoSuchOperator"

    with pytest.raises(ArtifactError, match=r"cannot be loaded: .*NoSuchOperator"):
        open_session(rewrite(cell_model(), break_graph))


def test_devices_that_are_not_here_are_told(cell_model):
    path = cell_model()
    for device in ("cuda", "cuda:0", "tpu", "cuda:x", "cpu:1"):
        with pytest.raises(BackendError, match=device):
            open_session(path, placement=Placement(device=device))
    assert open_session(path, placement=Placement(device="auto", threads=1)).runtime


def test_a_runtime_that_is_not_for_this_file_is_a_usage_error(cell_model):
    path = cell_model()
    with pytest.raises(UsageError, match="torch cannot run"):
        open_session(path, runtime="torch")
    with pytest.raises(UsageError, match="unknown runtime 'onnx'") as caught:
        open_session(path, runtime="onnx")
    assert "onnxruntime" in caught.value.hint


def test_running_twice_gives_the_same_bits(cell_model):
    session = open_session(cell_model())
    images = np.random.default_rng(0).random((3, 3, 64, 64), dtype=np.float32)
    first, second = session.run(images), session.run(images)
    assert np.array_equal(first[1], second[1])


def test_a_file_that_nests_graphs_without_end_is_refused(cell_model):
    path = cell_model()
    write_artifact(path, read_manifest(path), write_nested)
    with pytest.raises(ArtifactError):
        open_session(path)
