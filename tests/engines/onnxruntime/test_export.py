"""The exported graph: its contract, its forms, and that it is the checkpoint."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

import detkit.engines.convert as exporter
from detkit.artifact.artifact import Manifest, read_manifest, sha256_of
from detkit.core.boxes import EVAL_NMS, NmsConfig
from detkit.core.errors import ArtifactError, GateError, UsageError
from detkit.engines import exporters
from detkit.engines.exporting import ExportOptions, find_exporter, load_exporter
from detkit.engines.onnxruntime.export import export
from detkit.engines.opening import open_session
from detkit.export.graph import build_graph
from detkit.runtime.session import RawOutputs, SuppressedOutputs, infer


def random_images(count: int = 3, height: int = 64, width: int = 64) -> np.ndarray:
    levels = np.random.default_rng(0).integers(0, 256, (count, 3, height, width))
    return (levels / 255).astype(np.float32)


@pytest.fixture(scope="module")
def exported(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`exported(uint8=..., ...)`: the ONNX file exported with these options, once."""

    @functools.cache
    def make(**options: Any) -> Path:
        path = tmp_path_factory.mktemp("exported") / "m.onnx"
        export(checkpoint, path, ExportOptions(**options))
        return path

    return make


def test_raw_export_keeps_the_contract(checkpoint: Path, tmp_path: Path) -> None:
    report = export(checkpoint, tmp_path / "m.onnx", ExportOptions())
    graph = onnx.load(tmp_path / "m.onnx")
    onnx.checker.check_model(graph, full_check=True)
    shapes = {
        value.name: [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        for value in (*graph.graph.input, *graph.graph.output)
    }
    assert shapes == {
        "images": ["batch", 3, 64, 64],
        "boxes": ["batch", 84, 4],
        "scores": ["batch", 84, 3],
    }
    operators = Counter(node.op_type for node in graph.graph.node)
    assert operators["BatchNormalization"] == 0
    assert operators["Identity"] == 0
    assert report.difference is not None
    assert report.difference.score <= 1e-4
    assert report.difference.box_px <= 1e-2
    assert report.difference.source == "synthetic images"
    manifest = read_manifest(tmp_path / "m.onnx")
    assert manifest.parents[0].sha256 == sha256_of(checkpoint)
    assert manifest.metrics["difference_box_px"] == report.difference.box_px
    assert manifest.class_names == ("a", "b", "c")


def test_any_batch_gives_what_torch_gives(checkpoint: Path, exported: Callable[..., Path]) -> None:
    torch_session, onnx_session = open_session(checkpoint), open_session(exported(uint8=False))
    for count in (1, 2, 5):
        images = random_images(count)
        for a, b in zip(torch_session.run(images), onnx_session.run(images), strict=True):
            assert a.shape == b.shape
            assert np.abs(a - b).max() < 1e-2


def test_plain_onnxruntime_reads_it_without_detkit(exported: Callable[..., Path]) -> None:
    engine = ort.InferenceSession(exported(uint8=False), providers=["CPUExecutionProvider"])
    boxes, scores = engine.run(["boxes", "scores"], {"images": random_images(1)})
    assert boxes.shape == (1, 84, 4)
    assert scores.max() > 0.3
    assert "detkit" in engine.get_modelmeta().custom_metadata_map


@pytest.mark.parametrize("size", [(64, 96), (96, 32)])
def test_another_input_size(checkpoint: Path, tmp_path: Path, size: tuple[int, int]) -> None:
    export(checkpoint, tmp_path / "m.onnx", ExportOptions(image_size=size))
    session = open_session(tmp_path / "m.onnx")
    assert session.manifest.preprocess.size == size
    boxes, _ = session.run(random_images(1, *size))
    assert isinstance(session.manifest, Manifest)
    assert boxes.shape == (1, session.manifest.arch.num_anchors, 4)


def test_uint8_input_is_scaled_in_the_graph(exported: Callable[..., Path]) -> None:
    engine = ort.InferenceSession(exported(uint8=True), providers=["CPUExecutionProvider"])
    images = random_images(2)
    pixels = np.ascontiguousarray((images * 255).round().astype(np.uint8).transpose(0, 2, 3, 1))
    boxes, scores = engine.run(["boxes", "scores"], {"images": pixels})
    wanted_boxes, wanted_scores = open_session(exported(uint8=False)).run(images)
    assert np.abs(boxes - wanted_boxes).max() < 1e-2
    assert np.abs(scores - wanted_scores).max() < 1e-4
    types = [node.op_type for node in onnx.load(exported(uint8=True)).graph.node]
    assert types.index("Cast") < types.index("Transpose")  # TensorRT refuses the other order


@pytest.mark.parametrize(("uint8", "form"), [(False, "batched"), (True, "batched"), (True, "flat")])
def test_nms_in_the_graph_is_our_nms(exported: Callable[..., Path], uint8: bool, form: str) -> None:
    config = NmsConfig(score_threshold=0.3, iou_threshold=0.5, max_candidates=50, max_detections=20)
    images = random_images(4)
    raw = infer(open_session(exported(uint8=uint8)), images)
    suppressing = exported(uint8=uint8, nms=form, nms_config=config)
    found = infer(open_session(suppressing), images)
    assert isinstance(raw, RawOutputs)
    assert isinstance(found, SuppressedOutputs)
    lengths = set()
    for ours, graphs in zip(raw.detections(config), found.detections(config), strict=True):
        assert np.array_equal(ours.classes, graphs.classes)
        assert np.array_equal(ours.scores, graphs.scores)
        assert np.array_equal(ours.boxes_xyxy, graphs.boxes_xyxy)
        lengths.add(len(ours))
    assert max(lengths) > 3
    if form == "batched":
        padding = found.classes[0, found.counts[0] :]
        assert (padding == -1).all()


def test_flat_detections_are_rows_of_all_images(exported: Callable[..., Path]) -> None:
    config = NmsConfig(score_threshold=0.3, max_detections=20)
    path = exported(nms="flat", nms_config=config)
    engine = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    images = random_images(4)
    images[1] = 0.5  # nothing to see
    (rows,) = engine.run(None, {"images": images})
    assert [output.name for output in engine.get_outputs()] == ["detections"]
    assert (rows.shape[1], rows.dtype) == (7, np.float32)
    assert np.array_equal(rows[:, 0], np.sort(rows[:, 0]))
    alone = [infer(open_session(path), image[None]).detections(config)[0] for image in images]
    for index, wanted in enumerate(alone):
        mine = rows[rows[:, 0] == index]
        assert np.array_equal(mine[:, 5], np.sort(mine[:, 5])[::-1])
        assert np.allclose(mine[:, 1:5], wanted.boxes_xyxy, atol=1e-3)
        assert np.allclose(mine[:, 5], wanted.scores, atol=1e-5)
        assert np.array_equal(mine[:, 6], wanted.classes)
    assert read_manifest(path).form == "nms-flat"
    assert read_manifest(path).outputs[0].shape == ("rows", 7)


def test_flat_detections_of_nothing_are_no_rows(exported: Callable[..., Path]) -> None:
    session = open_session(exported(nms="flat", nms_config=NmsConfig(score_threshold=0.9999)))
    found = infer(session, random_images(3)).detections(EVAL_NMS)
    assert [len(one) for one in found] == [0, 0, 0]


def test_dynamo_exporter_gives_the_same_outputs(checkpoint: Path, tmp_path: Path) -> None:
    report = export(checkpoint, tmp_path / "d.onnx", ExportOptions(exporter="dynamo"))
    assert report.difference is not None
    assert report.difference.score <= 1e-4
    assert open_session(tmp_path / "d.onnx").run(random_images(3))[0].shape == (3, 84, 4)


def test_a_graph_that_strays_is_refused_and_not_written(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any, **options: Any) -> onnx.ModelProto:
        graph = build_graph(*args, **options)
        weights = max(graph.graph.initializer, key=lambda tensor: len(tensor.raw_data))
        values = onnx.numpy_helper.to_array(weights) * np.float32(1.01)
        weights.CopyFrom(onnx.numpy_helper.from_array(values, weights.name))
        return graph

    monkeypatch.setattr(exporter, "build_graph", broken)
    with pytest.raises(GateError, match="differs from torch by"):
        export(checkpoint, tmp_path / "m.onnx", ExportOptions())
    assert list(tmp_path.iterdir()) == []


def test_wrong_sizes_and_targets_are_usage_errors(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="multiples of 32"):
        export(checkpoint, tmp_path / "m.onnx", ExportOptions(image_size=(64, 70)))
    with pytest.raises(UsageError, match="cannot export to 'onx'") as raised:
        find_exporter("onx")
    assert raised.value.hint == "did you mean 'onnx'?"
    assert all(load_exporter(name) for name in exporters())


def test_an_exported_model_cannot_be_exported(
    exported: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(ArtifactError, match="not a checkpoint but of kind 'onnx'"):
        export(exported(uint8=False), tmp_path / "again.onnx", ExportOptions())
