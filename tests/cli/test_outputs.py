"""`--outputs`: detectors of other tools through bench, eval, predict and info."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from onnx import ModelProto

from fixtures.command_line import Detkit
from fixtures.described_graphs import the_first_for_all

QUICK = ("--seconds", "0", "--runs", "10")
RUNTIMES = ["onnxruntime", "openvino"]


def name_classes(model: ModelProto) -> None:
    model.metadata_props.add(key="names", value="{0: 'red', 1: 'green'}")


@pytest.mark.parametrize("engine", RUNTIMES)
@pytest.mark.parametrize(
    ("form", "images"),
    [("yolov8", "one"), ("yolov5", "plain"), ("torchvision", "no batch"), ("nms", "plain")],
)
def test_a_detector_of_another_tool_scores_what_it_should(
    detkit: Detkit,
    described_graph: Callable[..., Path],
    cell_folder: Path,
    form: str,
    images: str,
    engine: str,
) -> None:
    pytest.importorskip(engine)
    path = described_graph(form, images)
    flags = ("--outputs", form, "--runtime", engine, "--json")
    done = detkit("eval", str(path), str(cell_folder), *flags)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["ap"], report["runtime"]) == (pytest.approx(1), engine)
    assert "are taken to be those of" in done.stderr


def test_a_graph_that_is_wrong_in_a_batch_scores_what_its_images_do_alone(
    detkit: Detkit, described_graph: Callable[..., Path], cell_folder: Path
) -> None:
    path = described_graph("yolov8", change=the_first_for_all)
    done = detkit("eval", str(path), str(cell_folder), "--outputs", "yolov8", "--json", "-q")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ap"] == pytest.approx(1)
    assert done.stderr.count("warning: ") == done.stderr.count("\n") == 1
    assert "the graph is wrong in a batch" in done.stderr
    timed = detkit("bench", str(path), *QUICK, "--outputs", "yolov8", "--batch", "2")
    assert timed.returncode == 0, timed.stderr
    assert "what is timed is not what it detects" in timed.stderr


def test_a_wrong_reading_of_boxes_is_an_error_with_its_cure(
    detkit: Detkit, described_graph: Callable[..., Path], cell_folder: Path
) -> None:
    wrong = cell_folder.parent / "wrong.json"
    wrong.write_text('{"preset": "yolov8", "outputs": {"box_format": "xyxy"}}')
    path = described_graph("yolov8")
    done = detkit("eval", str(path), str(cell_folder), "--outputs", str(wrong))
    assert (done.returncode, done.stdout) == (1, "")
    assert "boxes read as xyxy have negative width or height" in done.stderr
    assert '"box_format": "cxcywh"' in done.stderr


def test_names_in_the_file_go_before_those_of_the_data(
    detkit: Detkit, described_graph: Callable[..., Path], cell_folder: Path
) -> None:
    path = described_graph("yolov8", change=name_classes)
    done = detkit("eval", str(path), str(cell_folder), "--outputs", "yolov8")
    assert (done.returncode, done.stderr) == (0, "")


def test_classes_may_be_taken_from_annotations_by_category_id(
    detkit: Detkit, described_graph: Callable[..., Path], cell_folder: Path, tmp_path: Path
) -> None:
    """The usual numbering of detectors trained on COCO: labels are category ids, with gaps."""
    annotations = cell_folder / "annotations" / "instances_val.json"
    plain = json.loads(annotations.read_text())
    renumbered = {1: 2, 2: 1}
    for item in plain["categories"]:
        item["id"] = renumbered[item["id"]]
    for item in plain["annotations"]:
        item["category_id"] = renumbered[item["category_id"]]
    annotations.write_text(json.dumps(plain))
    about = {"preset": "torchvision", "classes_from": str(annotations)}
    scores = {}
    for labels in ("index", "category_id"):
        (tmp_path / "d.json").write_text(json.dumps({**about, "labels": labels}))
        flags = ("--outputs", str(tmp_path / "d.json"), "--json")
        done = detkit("eval", str(described_graph("torchvision", "one")), str(cell_folder), *flags)
        assert done.returncode == 0, done.stderr
        scores[labels] = json.loads(done.stdout)["ap"]
    assert scores == {"index": 0, "category_id": 0}  # red is label 1, and now category 2


def test_bench_sets_models_of_other_tools_beside_detkits_own(
    detkit: Detkit,
    cell_model: Callable[..., Path],
    described_graph: Callable[..., Path],
    cell_folder: Path,
) -> None:
    models = (cell_model(), described_graph("yolov8"), described_graph("yolov10", "nhwc bytes"))
    (cell_folder.parent / "bytes.json").write_text(
        '{"preset": "yolov10", "input": {"layout": "nhwc"}}'
    )
    outputs = ("--outputs", "yolov8", "--outputs", str(cell_folder.parent / "bytes.json"))
    done = detkit(
        "bench", *map(str, models), *QUICK, *outputs, "--data", str(cell_folder), "--json"
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["models"]
    assert [model["form"] for model in found] == ["deployed", "deployed", "nms"]
    assert all(model["latency_ms"]["p50"] > 0 for model in found)


def test_descriptions_must_be_one_or_as_many_as_the_models_of_other_tools(
    detkit: Detkit, cell_model: Callable[..., Path], described_graph: Callable[..., Path]
) -> None:
    paths = [str(described_graph("yolov8", images)) for images in ("plain", "one", "half")]
    done = detkit("bench", *paths, *QUICK, "--outputs", "yolov8", "--outputs", "yolov8")
    assert (done.returncode, done.stdout) == (2, "")
    assert "2 descriptions for 3 models of other tools" in done.stderr
    done = detkit("bench", str(cell_model()), *QUICK, "--outputs", "yolov8")
    assert done.returncode == 2
    assert "says itself what its outputs mean" in done.stderr


def test_predict_draws_and_names_the_classes(
    detkit: Detkit, described_graph: Callable[..., Path], cell_folder: Path, tmp_path: Path
) -> None:
    images, out = str(cell_folder / "images"), str(tmp_path / "out")
    path = str(described_graph("torchvision", "one"))
    done = detkit("predict", path, images, "-o", out, "--outputs", "torchvision")
    assert done.returncode == 2
    assert "does not name its classes" in done.stderr
    named = str(described_graph("torchvision", "one", change=name_classes))
    done = detkit("predict", named, images, "-o", out, "--outputs", "torchvision")
    assert done.returncode == 0, done.stderr
    entries = json.loads((tmp_path / "out" / "detections.json").read_text())
    assert sorted(entry["category_name"] for entry in entries) == ["green"] * 2 + ["red"] * 3


def test_eval_refuses_a_description_of_what_describes_itself(
    detkit: Detkit, cell_model: Callable[..., Path], cell_folder: Path
) -> None:
    done = detkit("eval", str(cell_model()), str(cell_folder), "--outputs", "yolov8")
    assert (done.returncode, done.stdout) == (2, "")
    assert "says itself what its outputs mean" in done.stderr


def test_info_lists_inputs_outputs_and_the_presets_that_fit(
    detkit: Detkit, described_graph: Callable[..., Path]
) -> None:
    path = described_graph("yolov8", change=name_classes)
    done = detkit("info", str(path))
    assert (done.returncode, done.stderr) == (0, "")
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert "kind onnx of another tool" in lines
    assert "input x (batch, 3, 64, 64) float32" in lines
    assert "shapes fit --outputs yolov8" in lines
    assert "classes 2: red, green" in lines
    shown = json.loads(detkit("info", str(path), "--json").stdout)
    assert shown["presets"] == ["yolov8"]
    assert shown["content"]["inputs"][0]["shape"] == ["batch", 3, 64, 64]


def test_info_says_why_it_names_no_preset(
    detkit: Detkit, described_graph: Callable[..., Path]
) -> None:
    def leave_sizes_open(model: ModelProto) -> None:
        for output in model.graph.output:
            for number, size in enumerate(output.type.tensor_type.shape.dim):
                size.dim_param = f"size {number}"

    done = detkit("info", str(described_graph("yolov8", change=leave_sizes_open)))
    assert "too much is left open to tell: --outputs PRESET or FILE.json" in done.stdout
