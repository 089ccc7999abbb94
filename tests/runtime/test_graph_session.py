"""Every form of export through the real file and each engine: raw or suppressed, float or uint8."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from detkit.core.boxes import EVAL_NMS
from detkit.core.errors import ArtifactError
from detkit.runtime.session import RawOutputs, Session, SuppressedOutputs, SuppressingSession, infer


def image(*cells: tuple[int, int, int]) -> np.ndarray:
    """(64, 64, 3) uint8 of four 32x32 cells, in rows."""
    grid = np.array(cells, np.uint8).reshape(2, 2, 3)
    return grid.repeat(32, axis=0).repeat(32, axis=1)


RED, GREEN, GRAY = (255, 0, 0), (0, 230, 0), (114, 114, 114)
TWO_IMAGES = (image(RED, GRAY, GRAY, GREEN), image(GRAY, GRAY, GREEN, GRAY))
PIXELS = np.stack(TWO_IMAGES)
IMAGES = (PIXELS.transpose(0, 3, 1, 2) / 255).astype(np.float32)
EXPECTED = np.zeros((2, 4, 2))
EXPECTED[0, 0, 0], EXPECTED[0, 3, 1], EXPECTED[1, 2, 1] = 1, 460 / 255 - 1, 460 / 255 - 1


@pytest.mark.parametrize("uint8", [False, True])
def test_raw_outputs_are_those_worked_out_by_hand(
    open_graph: Callable[..., Session], cell_model: Callable[..., Path], uint8: bool
) -> None:
    boxes, scores = open_graph(cell_model(uint8=uint8)).run(IMAGES)
    assert boxes.shape == (2, 4, 4)
    assert boxes[1, 2].tolist() == [0, 32, 32, 64]
    assert np.allclose(scores, EXPECTED, atol=1e-6)


def test_a_uint8_graph_takes_the_pixels_themselves_with_equal_results(
    open_graph: Callable[..., Session], cell_model: Callable[..., Path]
) -> None:
    session = open_graph(cell_model(uint8=True))
    from_pixels, from_floats = infer(session, PIXELS), infer(session, IMAGES)
    assert isinstance(from_pixels, RawOutputs)
    assert np.array_equal(from_pixels.scores, from_floats.scores)


def test_a_graph_with_nms_gives_the_detections_of_the_one_without(
    open_graph: Callable[..., Session], cell_model: Callable[..., Path]
) -> None:
    raw = open_graph(cell_model())
    suppressing = open_graph(cell_model("nms.onnx", nms=True))
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


def test_a_graph_with_nms_refuses_to_give_raw_scores(
    open_graph: Callable[..., Session], cell_model: Callable[..., Path]
) -> None:
    with pytest.raises(ArtifactError, match="NMS in the graph") as caught:
        open_graph(cell_model(nms=True)).run(IMAGES)
    assert "--nms" in caught.value.hint


def test_a_batch_the_graph_refuses_is_told_with_its_shape(
    open_graph: Callable[..., Session], cell_model: Callable[..., Path]
) -> None:
    session = open_graph(cell_model())
    with pytest.raises(ArtifactError, match="input of 1x3x64x96"):
        session.run(np.zeros((1, 3, 64, 96), np.float32))


def test_a_damaged_file_is_refused(
    open_graph: Callable[..., Session], cell_model: Callable[..., Path]
) -> None:
    path = cell_model()
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)
    with pytest.raises(ArtifactError):
        open_graph(path)


def test_a_graph_without_the_outputs_of_the_contract_is_refused(
    open_graph: Callable[..., Session],
    cell_model: Callable[..., Path],
    rewrite: Callable[..., Path],
) -> None:
    def rename(graph: onnx.GraphProto) -> None:
        graph.output[1].name = "by_cell"
        graph.output[1].type.CopyFrom(onnx.helper.make_tensor_type_proto(1, None))

    with pytest.raises(ArtifactError, match="no output scores"):
        open_graph(rewrite(cell_model(), rename))


def test_a_graph_the_engine_cannot_load_is_refused(
    open_graph: Callable[..., Session],
    cell_model: Callable[..., Path],
    rewrite: Callable[..., Path],
) -> None:
    def break_graph(graph: onnx.GraphProto) -> None:
        graph.node[0].op_type = "NoSuchOperator"

    with pytest.raises(ArtifactError, match=r"cannot be loaded: .*NoSuchOperator"):
        open_graph(rewrite(cell_model(), break_graph))


def test_running_twice_gives_the_same_bits(
    open_graph: Callable[..., Session], cell_model: Callable[..., Path]
) -> None:
    session = open_graph(cell_model())
    images = np.random.default_rng(0).random((3, 3, 64, 64), dtype=np.float32)
    first, second = session.run(images), session.run(images)
    assert np.array_equal(first[1], second[1])
