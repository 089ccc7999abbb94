"""The OpenVINO export: two files, the manifest in rt_info, and that it is the checkpoint."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

import detkit.engines.convert as steps
from detkit.artifact.artifact import read_manifest, size_of
from detkit.core.boxes import NmsConfig
from detkit.core.errors import ArtifactError, GateError, UsageError
from detkit.engines.exporting import ExportOptions, load_exporter
from detkit.engines.opening import open_session
from detkit.export.graph import build_graph
from detkit.report import ConversionReport
from detkit.runtime.comparison import compare_raw, compare_suppressed
from detkit.runtime.session import SuppressedOutputs, infer

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="openvino is not installed here"
)


def images(count: int = 3) -> np.ndarray:
    levels = np.random.default_rng(0).integers(0, 256, (count, 3, 64, 64))
    return (levels / 255).astype(np.float32)


def export(checkpoint: Path, path: Path, **options: object) -> ConversionReport:
    return load_exporter("openvino")(checkpoint, path, ExportOptions(**options))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def exported(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """`exported(uint8=..., ...)`: the .xml exported with these options, once."""

    @functools.cache
    def make(**options: object) -> Path:
        path = tmp_path_factory.mktemp("exported") / "m.xml"
        export(checkpoint, path, **options)
        return path

    return make


def test_the_pair_says_what_it_is_and_opens_by_its_natural_engine(
    checkpoint: Path, tmp_path: Path
) -> None:
    report = export(checkpoint, tmp_path / "m.xml")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.bin", "m.xml"]
    assert report.bytes == size_of(tmp_path / "m.xml")
    assert report.difference is not None
    assert report.difference.score <= 1e-4
    assert report.difference.box_px <= 1e-2
    manifest = read_manifest(tmp_path / "m.xml")
    assert (manifest.kind, manifest.form, manifest.precision) == ("openvino", "deployed", "fp32")
    assert manifest.outputs[0].shape == ("batch", 84, 4)
    assert "openvino" in manifest.versions
    assert open_session(tmp_path / "m.xml").engine == "openvino"


@pytest.mark.parametrize("uint8", [False, True])
def test_any_batch_gives_what_torch_gives(
    checkpoint: Path, exported: Callable[..., Path], uint8: bool
) -> None:
    ours, theirs = open_session(checkpoint), open_session(exported(uint8=uint8))
    for count in (1, 2, 5):
        found = compare_raw(ours, theirs, images(count), source="", batch_size=count)
        assert found.score <= 1e-4
        assert found.box_px <= 1e-2
    if uint8:
        pixels = (images() * 255).round().astype(np.uint8).transpose(0, 2, 3, 1)
        from_pixels, from_floats = infer(theirs, pixels), infer(theirs, images())
        assert np.array_equal(from_pixels.scores, from_floats.scores)


@pytest.mark.parametrize(("uint8", "form"), [(False, "batched"), (True, "batched"), (True, "flat")])
def test_nms_in_the_graph_is_our_nms(exported: Callable[..., Path], uint8: bool, form: str) -> None:
    config = NmsConfig(score_threshold=0.3, iou_threshold=0.5, max_candidates=50, max_detections=20)
    raw = open_session(exported(uint8=uint8))
    suppressing = open_session(exported(uint8=uint8, nms=form, nms_config=config))
    found = compare_suppressed(raw, suppressing, images(4), config, source="")
    assert found.score <= 1e-5
    assert found.box_px <= 1e-3
    outputs = infer(suppressing, images(4))
    assert isinstance(outputs, SuppressedOutputs)
    assert max(outputs.counts) > 3
    if form == "batched":
        assert (outputs.classes[0, outputs.counts[0] :] == -1).all()


def test_half_halves_the_file_and_moves_nothing_seen_far(exported: Callable[..., Path]) -> None:
    paths = [exported(uint8=False), exported(half=True)]
    whole, half = (path.with_suffix(".bin").stat().st_size for path in paths)
    assert half < 0.51 * whole
    assert read_manifest(paths[1]).precision == "fp16-weights"
    ours, theirs = (open_session(path) for path in paths)
    found = compare_raw(ours, theirs, images(), source="", least_score=0.25)
    assert 0 < found.score < 0.05
    assert 0 < found.box_px < 8.0


def test_half_is_not_for_onnx(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--half") as caught:
        load_exporter("onnx")(checkpoint, tmp_path / "m.onnx", ExportOptions(half=True))
    assert caught.value.hint == "--to openvino, or --target tensorrt"


def test_plain_openvino_reads_it_without_detkit(exported: Callable[..., Path]) -> None:
    from detkit.engines.openvino.api import the_core

    network = the_core().read_model(exported(uint8=False))
    assert network.get_rt_info(["model_info", "labels"]).astype(str) == "a b c"
    assert json.loads(network.get_rt_info("detkit").astype(str))["kind"] == "openvino"
    boxes, scores = the_core().compile_model(network, "CPU")(images(1)).values()
    assert boxes.shape == (1, 84, 4)
    assert scores.max() > 0.3


def test_class_names_of_any_kind_survive_the_xml(
    cell_model: Callable[..., Path], tmp_path: Path
) -> None:
    from detkit.engines.openvino.api import the_core
    from detkit.engines.openvino.export import write_openvino

    names = ("a \"b\" <c> & 'd'", "\u6587\U0001f600\ufffe\tab\x1b")
    cells = cell_model(class_names=names)
    sealed = write_openvino(onnx.load(cells), read_manifest(cells), tmp_path / "m.xml")
    assert read_manifest(tmp_path / "m.xml") == sealed
    assert sealed.class_names == names
    labels = the_core().read_model(tmp_path / "m.xml").get_rt_info(["model_info", "labels"])
    assert labels.astype(str) == "a_\"b\"_<c>_&_'d' \u6587\U0001f600?_ab?"
    assert open_session(tmp_path / "m.xml").run(images(1))[0].shape == (1, 4, 4)


def test_a_graph_that_strays_is_refused_and_not_written(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object, **options: object) -> onnx.ModelProto:
        graph = build_graph(*args, **options)  # type: ignore[arg-type]
        weights = max(graph.graph.initializer, key=lambda tensor: len(tensor.raw_data))
        values = onnx.numpy_helper.to_array(weights) * np.float32(1.01)
        weights.CopyFrom(onnx.numpy_helper.from_array(values, weights.name))
        return graph

    monkeypatch.setattr(steps, "build_graph", broken)
    with pytest.raises(GateError, match="differs from torch by"):
        export(checkpoint, tmp_path / "m.xml")
    assert list(tmp_path.iterdir()) == []


def test_an_exported_model_cannot_be_exported(
    exported: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(ArtifactError, match="not a checkpoint but of kind 'openvino'"):
        export(exported(uint8=False), tmp_path / "again.xml")


# --- Q/DQ graphs ---------------------------------------------------------------------------------

QDQ = """
<ir_version: 8, opset_import: ["" : 17]>
quantized (float[batch,3,64,64] images) => (float[batch,4,4] boxes, float[batch,4,2] scores)
{
  a = Constant <value = float {0.0078}> ()
  b = Constant <value = float {0.01}> ()
  zero = Constant <value = int8 {0}> ()
  levels = QuantizeLinear (images, a, zero)
  values = DequantizeLinear (levels, a, zero)
  weights = DequantizeLinear (kernel, b, zero)
  maps = Conv <kernel_shape = [3, 3], pads = [1, 1, 1, 1]> (values, weights)
  means = AveragePool <kernel_shape = [32, 32], strides = [32, 32]> (maps)
  flat = Constant <value = int64[3] {0, 2, 4}> ()
  by_class = Reshape (means, flat)
  by_cell = Transpose <perm = [0, 2, 1]> (by_class)
  scores = Sigmoid (by_cell)
  twice = Concat <axis = 2> (by_cell, by_cell)
  boxes = Relu (twice)
}
"""


def test_a_quantized_graph_stays_int8_in_the_file_and_on_the_cpu(
    cell_model: Callable[..., Path], tmp_path: Path
) -> None:
    from detkit.engines.openvino.export import write_openvino
    from detkit.engines.openvino.session import precision_of_convolutions

    graph = onnx.parser.parse_model(QDQ)
    kernel = np.random.default_rng(0).integers(-127, 128, (2, 3, 3, 3)).astype(np.int8)
    graph.graph.initializer.append(onnx.numpy_helper.from_array(kernel, "kernel"))
    manifest = dataclasses.replace(read_manifest(cell_model()), precision="int8")
    assert write_openvino(graph, manifest, tmp_path / "q.xml").precision == "int8"
    assert (tmp_path / "q.bin").stat().st_size < 300  # the kernel has 54 values
    assert precision_of_convolutions(tmp_path / "q.xml") in ({"u8": 1}, {"i8": 1})
    assert open_session(tmp_path / "q.xml").run(images(2))[1].shape == (2, 4, 2)
