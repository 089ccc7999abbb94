"""Graphs that are wrong in a batch are told of once, and run one image at a time."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detkit.core.boxes import EVAL_NMS, Array
from detkit.core.errors import DetkitWarning
from detkit.data.image import network_input
from detkit.runtime.batches import detections_of, is_right_in_batch
from detkit.runtime.described_session import DescribedSession
from detkit.runtime.session import Session
from detkit.spec.onnx_presets import PRESETS
from fixtures.described_graphs import the_first_for_all

RED, GRAY = (255, 0, 0), (114, 114, 114)


def images_of(session: Session, *reds: int) -> Array:
    """An image for each of `reds`, all gray but for this cell of its four."""
    made = []
    for red in reds:
        cells = np.array([RED if index == red else GRAY for index in range(4)], np.uint8)
        image = cells.reshape(2, 2, 3).repeat(32, axis=0).repeat(32, axis=1)
        made.append(image)
    return network_input(made, session.manifest.preprocess)


@pytest.fixture
def wrong(open_graph: Callable[..., Session], described_graph: Callable[..., Path]) -> Session:
    path = described_graph("yolov8", change=the_first_for_all)
    return open_graph(path, description=PRESETS["yolov8"])


def corners(session: Session, images: Array) -> list[list[float]]:
    return [d.boxes_xyxy[0].tolist() for d in detections_of(session, images, EVAL_NMS)]


def test_a_graph_that_is_wrong_in_a_batch_is_told_of_once_and_run_image_by_image(
    wrong: Session,
) -> None:
    images = images_of(wrong, 0, 3, 1)
    with pytest.warns(DetkitWarning, match=r"2 of 3 images get other .* one at a time") as caught:
        found = corners(wrong, images)
    assert len(caught) == 1
    assert found == [[0, 0, 32, 32], [32, 32, 64, 64], [32, 0, 64, 32]]
    assert corners(wrong, images[::-1]) == found[::-1]


def test_nothing_is_settled_before_two_images_have_detections(wrong: Session) -> None:
    assert isinstance(wrong, DescribedSession)
    assert is_right_in_batch(wrong, images_of(wrong, 9, 9), "")
    assert is_right_in_batch(wrong, images_of(wrong, 2), "")
    assert wrong.is_right_in_batch is None
    with pytest.warns(DetkitWarning, match="1 of 2 images"):
        assert not is_right_in_batch(wrong, images_of(wrong, 0, 3), "")


def test_a_graph_that_is_right_is_run_in_batches_without_a_word(
    open_graph: Callable[..., Session], described_graph: Callable[..., Path]
) -> None:
    session = open_graph(described_graph("yolov8"), description=PRESETS["yolov8"])
    assert isinstance(session, DescribedSession)
    sizes = []
    run = session.run_feed
    session.run_feed = lambda feed: [sizes.append(len(feed)), run(feed)][1]  # type: ignore
    for _ in range(2):
        corners(session, images_of(session, 0, 3, 1))
    assert sizes == [1, 1, 1, 3, 3, 3]
    assert session.is_right_in_batch


def test_a_batch_that_is_refused_is_run_image_by_image(
    open_graph: Callable[..., Session], described_graph: Callable[..., Path]
) -> None:
    def only_one(model: Any) -> None:
        import onnx

        the_first_for_all(model)
        shape = onnx.numpy_helper.from_array(np.array([1, 6, 16]), "shape_of_one")
        model.graph.initializer.append(shape)
        for node in model.graph.node:
            if list(node.output) == ["first"]:
                node.op_type = "Reshape"
                del node.input[1:]
                node.input.append("shape_of_one")

    path = described_graph("yolov8", change=only_one)
    session = open_graph(path, description=dataclasses.replace(PRESETS["yolov8"]))
    with pytest.warns(DetkitWarning, match="wrong in a batch: cannot run an input of 2x3x64x64"):
        assert len(corners(session, images_of(session, 0, 3))) == 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        corners(session, images_of(session, 0, 3))
