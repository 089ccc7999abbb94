"""A description fits a graph, or one error names the tensor, its shape and what was expected."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from detkit.artifact.artifact import TensorInfo
from detkit.core.errors import ArtifactError, UsageError
from detkit.onnx_signature.fitting import fitting_presets
from detkit.onnx_signature.onnx_graph import OnnxGraph
from detkit.onnx_signature.signature import sign
from detkit.spec.onnx_description import InputSpec, OnnxDescription, OutputSpec
from detkit.spec.onnx_presets import PRESETS

PATH = Path("m.onnx")
IMAGES = TensorInfo(name="images", dtype="float32", shape=(1, 3, 320, 320))


def graph(
    *outputs: tuple[int | str, ...],
    images: TensorInfo | tuple[TensorInfo, ...] = IMAGES,
    names: str = "",
) -> OnnxGraph:
    return OnnxGraph(
        inputs=images if isinstance(images, tuple) else (images,),
        outputs=tuple(
            TensorInfo(name=f"out{index}", dtype="float32", shape=shape)
            for index, shape in enumerate(outputs)
        ),
        precision="fp32",
        metadata={"names": names},
    )


def image_input(*shape: int | str, dtype: str = "float32") -> TensorInfo:
    return TensorInfo(name="images", dtype=dtype, shape=shape)


@pytest.mark.parametrize(
    ("outputs", "presets"),
    [
        ([(1, 7, 2100)], ("yolov8",)),
        ([("batch", 7, "anchors")], ("yolov8",)),
        ([(1, 6300, 8)], ("yolov5", "yolov7")),
        ([(1, 2100, 8)], ("yolov6", "yolox", "yolox-decoded")),
        ([(1, 300, 6)], ("yolov10", "rt-detr-ultralytics", "rt-detr-ultralytics-raw", "effdet")),
        ([("n", 7)], ("yolov7-nms", "flat")),
        ([(1, 100, 92), (1, 100, 4)], ("detr",)),
        ([(1, 300, 80), (1, 300, 4)], ("deformable-detr", "rt-detr")),
        ([(1, 300, 5), (1, 300, 4)], ("detr", "deformable-detr", "rt-detr")),
        ([(1, 300, 4), (1, 300, 91)], ("rf-detr",)),
        ([(1, 300, 84)], ("rt-detr-ultralytics-raw",)),
        ([(1, 2100, 85)], ("yolov6", "yolox", "yolox-decoded")),
        ([(1, 2100, 112)], ("nanodet",)),
        ([(1, 2125, 112)], ("nanodet-plus",)),
        ([(1, 100, 5), (1, 100)], ("rtmdet",)),
        ([("n", 4), ("n",), ("n",)], ("torchvision",)),
        ([(1, 1), (1, 100, 4), (1, 100), (1, 100)], ("nms",)),
        ([(1, 2100, 4), (1, 2100, 80)], ("raw",)),
        ([(1, 1000)], ()),
        ([(1, 3, 320, 320)], ()),
        ([], ()),
    ],
)
def test_presets_are_known_by_their_shapes(
    outputs: list[tuple[int | str, ...]], presets: tuple[str, ...]
) -> None:
    assert fitting_presets(graph(*outputs)) == presets


@pytest.mark.parametrize(
    ("preset", "outputs", "message"),
    [
        ("yolov8", [(1, 1000)], r"'out0' is \(1, 1000\); expected \(B, 4 \+ C, A\)"),
        ("yolov8", [(1, 2100, 7)], r"is \(1, 2100, 7\); expected \(B, 4 \+ C, A\) with more"),
        ("yolov5", [(1, 7, 2100)], r"is \(1, 7, 2100\); expected \(B, A, 5 \+ C\) with more"),
        ("yolov8", [(1, 4, 2100)], r"is \(1, 4, 2100\); expected"),
        ("yolov10", [(1, 300, 7)], r"expected \(M, 6\) or \(B, M, 6\)"),
        ("detr", [(1, 100, 92)], "the outputs are out0; expected 2: scores, boxes"),
        ("raw", [(1, 9, 4), (1, 8, 3)], r"'out1' is \(1, 8, 3\); expected \(1, 9, C\), as"),
        ("torchvision", [(1, 9, 4), (1, 9), (1, 8)], r"'out2' is \(1, 8\); expected \(1, 9\), as"),
        ("torchvision", [(9, 4), (1, 9), (1, 9)], r"'out2' is \(1, 9\); expected \(9\), as"),
        ("torchvision", [(9, 5), (9,), (9,)], r"'out0' is \(9, 5\); expected \(B, A, 4\) or"),
        ("nms", [(1, 1)], "expected 4: counts, boxes, scores, labels"),
    ],
)
def test_outputs_that_do_not_fit_are_named_with_their_shape(
    preset: str, outputs: list[tuple[int, ...]], message: str
) -> None:
    with pytest.raises(ArtifactError, match=message) as caught:
        sign(PATH, graph(*outputs), PRESETS[preset])
    assert "detkit info m.onnx" in caught.value.hint


def test_whether_a_grid_is_decoded_is_told_by_its_exponentials() -> None:
    for operators, preset in (
        (("Conv", "Exp"), "yolox-decoded"),
        (("Conv",), "yolox"),
        (("Conv", "Sub"), "yolov6"),
    ):
        found = dataclasses.replace(graph((1, 2100, 8)), operators=operators)
        assert fitting_presets(found) == (preset,)


def test_rows_that_are_not_the_cells_of_the_grids_are_refused() -> None:
    with pytest.raises(ArtifactError, match="expected 2100 rows, the cells of strides 8, 16, 32"):
        sign(PATH, graph((1, 6300, 85)), PRESETS["yolox"])


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (image_input(1, 1, 28, 28), r"input 'images' is \(1, 1, 28, 28\) float32; expected \(B, 3"),
        (image_input(1, 320, 320, 3), r"expected \(B, 3, H, W\)"),
        (image_input(1, 16000), r"is \(1, 16000\)"),
        (image_input(1, 3, 320, 320, dtype="int64"), "int64; expected"),
        ((IMAGES, IMAGES), "expected one input, the image; the graph has 'images'"),
        ((), "the graph has none"),
    ],
)
def test_an_input_that_takes_no_image_is_refused(
    images: TensorInfo | tuple[TensorInfo, ...], message: str
) -> None:
    with pytest.raises(ArtifactError, match=message):
        sign(PATH, graph((1, 7, 2100), images=images), PRESETS["yolov8"])


def with_input(**changes: Any) -> OnnxDescription:
    return dataclasses.replace(PRESETS["yolov8"], input=InputSpec(**changes))


def test_the_size_is_the_graphs_or_else_the_descriptions() -> None:
    fixed, free = graph((1, 7, 2100)), graph((1, 7, "a"), images=image_input(1, 3, "h", "w"))
    assert sign(PATH, fixed, with_input()).preprocess.size == (320, 320)
    assert sign(PATH, free, with_input(size=(300, 500))).preprocess.size == (300, 500)
    with pytest.raises(UsageError, match=r"\(1, 3, h, w\), of any size"):
        sign(PATH, free, with_input())
    with pytest.raises(ArtifactError, match="the description says 640x640"):
        sign(PATH, fixed, with_input(size=(640, 640)))
    with pytest.raises(ArtifactError, match="no input 'x', but 'images'"):
        sign(PATH, fixed, with_input(name="x"))


def test_bytes_cannot_be_normalised_outside_the_graph() -> None:
    images = image_input(1, 3, 320, 320, dtype="uint8")
    with pytest.raises(UsageError, match="takes no mean or std"):
        sign(PATH, graph((1, 7, 2100), images=images), with_input(mean=(0.5, 0.5, 0.5)))


def test_class_names_come_from_the_description_then_the_file_then_numbers() -> None:
    named = graph((1, 7, 2100), names="['a', 'b', 'c']")
    spec = PRESETS["yolov8"]
    mine = dataclasses.replace(spec, class_names=("x", "y", "z"))
    assert sign(PATH, named, mine).class_names == ("x", "y", "z")
    assert sign(PATH, named, spec).class_names == ("a", "b", "c")
    assert sign(PATH, graph((1, 7, 2100)), spec).class_names == ("class 0", "class 1", "class 2")
    with pytest.raises(ArtifactError, match="which is 3 classes, and there are 2 names"):
        sign(PATH, named, dataclasses.replace(spec, class_names=("x", "y")))


def test_the_background_and_gaps_are_no_classes() -> None:
    queries = graph((1, 9, 4), (1, 9, 4))
    detr = dataclasses.replace(PRESETS["detr"], class_names=("a", "", "b"))
    assert sign(PATH, queries, detr).class_of == (0, -1, 1, -1)
    first = dataclasses.replace(PRESETS["torchvision"], class_names=("a", "b"))
    assert sign(PATH, graph(("n", 4), ("n",), ("n",)), first).class_of == (-1, 0, 1)
    unknown = sign(PATH, graph(("n", 4), ("n",), ("n",)), PRESETS["torchvision"])
    assert (unknown.class_of, unknown.class_names) == ((), ())


@pytest.mark.parametrize(
    ("images", "outputs", "preset", "only"),
    [
        (image_input("b", 3, 320, 320), [(1, 7, 2100)], "yolov8", 0),
        (image_input(4, 3, 320, 320), [(4, 7, 2100)], "yolov8", 4),
        (image_input(3, 320, 320), [("n", 4), ("n",), ("n",)], "torchvision", 1),
        (image_input("b", 3, 320, 320), [("n", 4), ("n",), ("n",)], "torchvision", 1),
        (image_input("b", 3, 320, 320), [("n", 7)], "yolov7-nms", 0),
        (image_input("b", 3, 320, 320), [("n", 6)], "yolov10", 1),
    ],
)
def test_the_batch_is_free_where_every_tensor_has_one(
    images: TensorInfo, outputs: list[tuple[int | str, ...]], preset: str, only: int
) -> None:
    assert sign(PATH, graph(*outputs, images=images), PRESETS[preset]).only_batch == only


def test_a_size_that_the_graph_leaves_free_is_that_of_the_description_or_else_the_metadata() -> (
    None
):
    free = graph((1, 7, "anchors"), images=image_input("b", 3, "h", "w"))
    said = dataclasses.replace(free, metadata={"imgsz": "[320, 480]"})
    assert sign(PATH, said, with_input()).preprocess.size == (320, 480)
    square = dataclasses.replace(free, metadata={"imgsz": "320"})
    assert sign(PATH, square, with_input()).preprocess.size == (320, 320)
    assert sign(PATH, said, with_input(size=(64, 96))).preprocess.size == (64, 96)
    for text in ("0", "[0, 3]", "", "['a', 'b']", "[1, 2, 3]"):
        with pytest.raises(UsageError, match="of any size"):
            sign(PATH, dataclasses.replace(free, metadata={"imgsz": text}), with_input())


def test_inputs_beside_the_image_are_described_as_constants() -> None:
    factor = TensorInfo(name="scale_factor", dtype="float32", shape=("b", 2))
    images = image_input("b", 3, 320, 320)
    rows = graph(("n", 6), images=(images, factor))
    signed = sign(PATH, rows, PRESETS["picodet"])
    assert [tensor.name for tensor in signed.inputs] == ["images", "scale_factor"]
    assert fitting_presets(rows) == ("picodet", "pp-yoloe")
    with pytest.raises(ArtifactError, match="'images', 'scale_factor'") as caught:
        sign(PATH, rows, PRESETS["yolov10"])
    assert '"constants": {"scale_factor": [1, 1]}' in caught.value.hint
    with pytest.raises(ArtifactError, match="no input 'scale_factor', but 'images'"):
        sign(PATH, graph(("n", 6), images=images), PRESETS["picodet"])
    three = with_input(constants={"scale_factor": (1.0, 1.0, 1.0)})
    with pytest.raises(ArtifactError, match=r"is \(b, 2\); the description has 3 numbers"):
        sign(PATH, rows, dataclasses.replace(PRESETS["yolov10"], input=three.input))
    fixed = dataclasses.replace(factor, shape=(1, 2))
    one = graph((1, 300, 6), images=(images, fixed))
    assert sign(PATH, one, PRESETS["picodet"]).only_batch == 1


def test_class_names_in_the_file_leave_out_presets_of_other_numbers_of_classes() -> None:
    eighty = str([f"class {number}" for number in range(80)])
    assert fitting_presets(graph((1, 300, 6), names=eighty)) == ("yolov10", "rt-detr-ultralytics")
    assert fitting_presets(graph((1, 2100, 112), names=eighty)) == ("nanodet",)
    sampled = dataclasses.replace(graph((1, 300, 6), names=eighty), operators=("GridSample",))
    assert fitting_presets(sampled) == ("rt-detr-ultralytics",)
    named = dataclasses.replace(graph((1, 300, 6), names=eighty), operators=("Conv", "TopK"))
    assert fitting_presets(named) == ("yolov10",)


def test_class_names_stand_for_a_number_of_columns_that_the_file_leaves_open() -> None:
    eighty = str({str(number): f"class {number}" for number in range(80)})
    for operators, presets in (
        (("Conv", "Exp"), ("yolox-decoded",)),
        (("Conv", "Sigmoid"), ("yolox", "nanodet")),
    ):
        found = dataclasses.replace(graph(("b", 2100, "c"), names=eighty), operators=operators)
        assert fitting_presets(found) == presets
    nothing = dataclasses.replace(graph(("b", 2100, 84), names=eighty), operators=("Conv", "Sub"))
    assert fitting_presets(nothing) == ()


def test_a_network_without_sampled_attention_is_no_rt_detr_and_no_grid_is_of_open_length() -> None:
    queries = graph(("b", "queries", 80), ("b", "queries", 4))
    found = dataclasses.replace(queries, operators=("Conv", "Sigmoid", "Softmax"))
    assert fitting_presets(found) == ("deformable-detr", "rt-detr")


def test_files_of_ultralytics_are_known_though_all_their_sizes_are_free() -> None:
    free = graph(("batch", "a", "b"), images=image_input("batch", 3, "height", "width"))
    assert fitting_presets(free) == ()
    for operators, presets in (
        (("Conv",), ("yolov8",)),
        (("Conv", "NonMaxSuppression"), ("yolov10",)),
        (("GridSample", "TopK"), ("rt-detr-ultralytics", "rt-detr-ultralytics-raw")),
    ):
        about = {"author": "Ultralytics", "names": "{0: 'a', 1: 'b'}"}
        found = dataclasses.replace(free, metadata=about, operators=operators)
        assert fitting_presets(found) == presets


def test_tensors_of_each_stride_are_taken_as_one() -> None:
    levels = [(1, 80, 40, 40), (1, 80, 20, 20), (1, 4, 40, 40), (1, 4, 20, 20)]
    roles = ("scores", "scores", "boxes", "boxes")
    spec = OutputSpec(roles=roles, box_format="ltrb", strides=(8, 16))
    signed = sign(PATH, graph(*levels), OnnxDescription(outputs=spec))
    assert signed.tensors == {"scores": ("out0", "out1"), "boxes": ("out2", "out3")}
    assert len(signed.class_of) == 80
    with pytest.raises(ArtifactError, match=r"'out0, out1' is \(1, 2000, 80\); expected \(1, 1700"):
        sign(PATH, graph(*levels[:3], (1, 4, 10, 10)), OnnxDescription(outputs=spec))


def test_outputs_may_be_named_where_their_order_differs() -> None:
    spec = OutputSpec(roles=("boxes", "scores"), names={"boxes": "out1", "scores": "out0"})
    found = sign(PATH, graph((1, 9, 2), (1, 9, 4)), OnnxDescription(outputs=spec))
    assert found.tensors == {"boxes": ("out1",), "scores": ("out0",)}
    lost = OutputSpec(roles=("boxes", "scores"), names={"boxes": "out3"})
    with pytest.raises(ArtifactError, match="no output 'out3'") as caught:
        sign(PATH, graph((1, 9, 2), (1, 9, 4)), OnnxDescription(outputs=lost))
    assert caught.value.hint.startswith("did you mean 'out")


def typed(*outputs: tuple[str, str]) -> OnnxGraph:
    """A graph of suppressed detections: name and type of each output."""
    made = [
        TensorInfo(name=name, dtype=dtype, shape=("n", 4) if name == "boxes" else ("n",))
        for name, dtype in outputs
    ]
    return dataclasses.replace(graph(), outputs=tuple(made))


BOXES = ("boxes", "float32")


def test_scores_and_labels_are_told_apart_by_their_types() -> None:
    preset = PRESETS["torchvision"]
    labels_first = typed(BOXES, ("l", "int64"), ("s", "float32"))
    scores_first = typed(BOXES, ("s", "float32"), ("l", "int64"))
    wanted = {"boxes": ("boxes",), "labels": ("l",), "scores": ("s",)}
    assert sign(PATH, labels_first, preset).tensors == wanted
    assert sign(PATH, scores_first, preset).tensors == wanted
    untyped = typed(BOXES, ("l", "float32"), ("s", "float32"))
    assert sign(PATH, untyped, preset).tensors == wanted
    named = OutputSpec(roles=("boxes", "labels", "scores"), names={"scores": "l", "labels": "s"})
    with pytest.raises(ArtifactError, match="'l' is int64 and cannot be scores") as caught:
        sign(PATH, scores_first, OnnxDescription(outputs=named))
    assert caught.value.hint == '"names": {"scores": "s", "labels": "l"}'
    with pytest.raises(ArtifactError, match="'s' is int32 and cannot be scores"):
        sign(PATH, typed(BOXES, ("l", "int64"), ("s", "int32")), preset)
