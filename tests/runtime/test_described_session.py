"""Graphs of other tools give what the same detector gives in detkit's own form, on every engine."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from detkit.core.boxes import EVAL_NMS, NmsConfig
from detkit.core.errors import ArtifactError
from detkit.data.image import network_input, network_pixels
from detkit.runtime.batches import detections_of
from detkit.runtime.session import Session, SuppressingSession, infer
from detkit.spec.onnx_description import InputSpec, OnnxDescription, OutputSpec
from detkit.spec.onnx_presets import PRESETS

RED, GREEN, GRAY = (255, 0, 0), (0, 230, 0), (114, 114, 114)
NAMES = ("red", "green")


def image(*cells: tuple[int, int, int]) -> np.ndarray:
    """(64, 64, 3) uint8 of four 32x32 cells, in rows."""
    grid = np.array(cells, np.uint8).reshape(2, 2, 3)
    return grid.repeat(32, axis=0).repeat(32, axis=1)


IMAGES = [image(RED, GRAY, GRAY, GREEN), image(GRAY, GRAY, GREEN, GRAY)]
PLAIN_INPUT = InputSpec()
FORMS = {
    **{name: PRESETS[name] for name in PRESETS if name not in ("yolov7", "raw")},
    "yyxx": OnnxDescription(
        outputs=OutputSpec(roles=("boxes", "scores"), box_format="yxyx", normalised=True)
    ),
    "columns": OnnxDescription(outputs=OutputSpec(roles=("boxes", "scores"), anchors_last=True)),
    "maps": OnnxDescription(
        outputs=OutputSpec(
            roles=("scores", "scores", "boxes", "boxes"),
            box_format="ltrb",
            strides=(8, 16),
            cell_point=0.5,
        )
    ),
}
BGR = InputSpec(channel_order="bgr", mean=(0.5, 0.25, 0.75), std=(0.25, 0.5, 0.125))
INPUTS = {
    "plain": PLAIN_INPUT,
    "one": PLAIN_INPUT,
    "half": PLAIN_INPUT,
    "bytes": PLAIN_INPUT,
    "nhwc bytes": InputSpec(layout="nhwc"),
    "bgr normalised": BGR,
}


def spec_of(form: str, images: InputSpec = PLAIN_INPUT) -> OnnxDescription:
    constants = {f"back/{name}": v for name, v in FORMS[form].input.constants.items()}
    given = dataclasses.replace(images, constants=constants)
    return dataclasses.replace(FORMS[form], input=given, class_names=NAMES)


def found_by(session: Session) -> list[list[tuple[object, ...]]]:
    """(class, box, score) of what is seen in each of `IMAGES`."""
    images = network_input(IMAGES, session.manifest.preprocess)
    return [
        [
            (session.manifest.class_names[label], tuple(box), round(float(score), 2))
            for label, box, score in zip(d.classes, d.boxes_xyxy.tolist(), d.scores, strict=True)
        ]
        for d in detections_of(session, images, EVAL_NMS)
    ]


def expected(*, most: float = 1.0) -> list[list[tuple[object, ...]]]:
    return [
        [("red", (0, 0, 32, 32), most), ("green", (32, 32, 64, 64), 0.8)],
        [("green", (0, 32, 32, 64), 0.8)],
    ]


@pytest.mark.parametrize("form", [form for form in FORMS if form != "torchvision"])
def test_every_form_of_outputs_means_the_same_detections(
    open_graph: Callable[..., Session], described_graph: Callable[..., Path], form: str
) -> None:
    session = open_graph(described_graph(form), description=spec_of(form))
    is_logits = FORMS[form].outputs.activation != "none"
    assert found_by(session) == expected(most=0.99 if is_logits else 1.0)


@pytest.mark.parametrize("images", ["one", "no batch"])
def test_a_graph_of_one_image_and_variable_length_is_run_image_by_image(
    open_graph: Callable[..., Session], described_graph: Callable[..., Path], images: str
) -> None:
    path = described_graph("torchvision", images)
    session = open_graph(path, description=spec_of("torchvision"))
    assert found_by(session) == expected()


@pytest.mark.parametrize("images", INPUTS)
def test_every_form_of_input_is_given_the_same_image(
    open_graph: Callable[..., Session], described_graph: Callable[..., Path], images: str
) -> None:
    path = described_graph("yolov8", images)
    session = open_graph(path, description=spec_of("yolov8", INPUTS[images]))
    assert found_by(session) == expected()


def test_bytes_are_fed_as_they_are(
    open_graph: Callable[..., Session], described_graph: Callable[..., Path]
) -> None:
    spec = spec_of("yolov8", InputSpec(layout="nhwc"))
    session = open_graph(described_graph("yolov8", "nhwc bytes"), description=spec)
    pixels = network_pixels(IMAGES, session.manifest.preprocess)
    images = network_input(IMAGES, session.manifest.preprocess)
    a, b = infer(session, pixels), infer(session, images)
    assert np.array_equal(a.scores, b.scores)


def test_a_set_of_predictions_is_not_suppressed_again(
    open_graph: Callable[..., Session], described_graph: Callable[..., Path]
) -> None:
    """Two queries of one object stay two: only the model says that they are one."""
    raw = dataclasses.replace(spec_of("rt-detr"), outputs=FORMS["rt-detr"].outputs)
    session = open_graph(described_graph("rt-detr"), description=raw)
    assert isinstance(session, SuppressingSession)
    with pytest.raises(ArtifactError, match="no raw scores"):
        session.run(network_input(IMAGES))


def test_a_prediction_may_be_of_its_best_class_alone(
    open_graph: Callable[..., Session], described_graph: Callable[..., Path]
) -> None:
    """The cells are a little of either class; nothing but the better one is left."""
    for one_class, classes in ((False, 2), (True, 1)):
        outputs = dataclasses.replace(FORMS["rt-detr"].outputs, one_class=one_class)
        spec = dataclasses.replace(spec_of("rt-detr"), outputs=outputs)
        session = open_graph(described_graph("rt-detr"), description=spec)
        images = network_input(IMAGES[:1], session.manifest.preprocess)
        (found,) = detections_of(session, images, NmsConfig(score_threshold=1e-6))
        inside = found.boxes_xyxy[:, 0] + found.boxes_xyxy[:, 1] == 0
        assert len(set(found.classes[inside].tolist())) == classes


def test_a_number_without_a_name_is_no_class(
    open_graph: Callable[..., Session], described_graph: Callable[..., Path]
) -> None:
    for form, kept in (("torchvision", ["green"]), ("yolov8", ["green"])):
        spec = dataclasses.replace(FORMS[form], class_names=("", "green"))
        session = open_graph(described_graph(form, "one"), description=spec)
        assert session.manifest.class_names == ("green",)
        assert [name for name, _, _ in found_by(session)[0]] == kept


def test_a_label_beyond_the_names_is_refused(
    open_graph: Callable[..., Session], described_graph: Callable[..., Path]
) -> None:
    spec = dataclasses.replace(FORMS["torchvision"], class_names=("red",))
    session = open_graph(described_graph("torchvision", "one"), description=spec)
    with pytest.raises(ArtifactError, match="label 2, and there are 1 class names"):
        found_by(session)


def test_without_names_classes_are_numbers(
    open_graph: Callable[..., Session], described_graph: Callable[..., Path]
) -> None:
    session = open_graph(described_graph("yolov8"), description=FORMS["yolov8"])
    assert session.manifest.class_names == ("class 0", "class 1")
