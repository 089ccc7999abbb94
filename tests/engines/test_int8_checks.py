"""INT8 exports: what is measured before a graph is kept, and what is refused."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import detkit.engines.convert as steps
import detkit.engines.int8_checks as gate
from detkit.artifact.artifact import TensorInfo, read_manifest
from detkit.core.boxes import NmsConfig
from detkit.core.errors import GateError, UsageError
from detkit.data.image import network_input
from detkit.data.synthetic.synth import draw_images
from detkit.engines.coverage import coverage
from detkit.engines.exporting import ExportOptions, load_exporter
from detkit.engines.int8_checks import check_rounding
from detkit.engines.int8_graph import for_engine
from detkit.engines.opening import open_session
from detkit.export.graph import build_graph, write_onnx
from detkit.export.nms import append_nms
from detkit.nn.checkpoint import load_checkpoint
from detkit.nn.quantization.quantized import QuantizedDetector
from detkit.report import ConversionReport
from detkit.runtime.session import infer
from detkit.timing.side_by_side import Ratio, SideBySide

# 1 convolution between two that are INT8, and 6 + 5 in a row, a transposed one among them.
IN_FLOAT = ("backbone.stage1", "neck.neck1", "neck.neck1.blocks")


def export(name: str, checkpoint: Path, path: Path, **options: object) -> ConversionReport:
    return load_exporter(name)(checkpoint, path, ExportOptions(**options))  # type: ignore[arg-type]


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`times(float_ms, int8_ms)`: what the clock will say; with none, that it cannot."""

    def set_times(*each_ms: float) -> None:
        def timed(runs: list[Callable[[int], object]], *, threads: int) -> SideBySide:
            for run in runs:
                run(0)
            if not each_ms:
                return SideBySide("", (None, None), None)
            value = each_ms[1] / each_ms[0]
            return SideBySide("wall", each_ms, Ratio(value, value, value))

        monkeypatch.setattr(gate, "time_side_by_side", timed)

    return set_times


def test_where_the_machine_is_busy_no_speed_is_claimed_and_nothing_refused(
    int8: Callable[..., Path], tmp_path: Path, times: Callable[..., None]
) -> None:
    times()
    report = export("onnx", int8(), tmp_path / "m.onnx")
    assert report.notes["speed"] == "not measured: the machine is busy"
    assert read_manifest(tmp_path / "m.onnx").metrics["int8_convolutions"] == 70


def test_a_graph_slower_than_float_is_refused_and_not_written(
    int8: Callable[..., Path], tmp_path: Path, times: Callable[[float, float], None]
) -> None:
    times(1.0, 1.5)
    with pytest.raises(GateError, match=r"INT8 takes 1\.50 times as long as float") as caught:
        export("onnx", int8(), tmp_path / "m.onnx")
    assert "(70 of 76 convolutions in INT8)" in str(caught.value)
    assert caught.value.hint == "--allow-slower writes it all the same"
    assert list(tmp_path.iterdir()) == []


def test_an_export_says_how_much_is_int8_and_how_fast(
    int8: Callable[..., Path], tmp_path: Path, times: Callable[[float, float], None]
) -> None:
    if importlib.util.find_spec("openvino") is None:
        pytest.skip("openvino is not installed here")
    times(1.0, 4.0)
    report = export("openvino", int8(), tmp_path / "m.xml", engine="openvino", allow_slower=True)
    assert report.notes["int8_convolutions"] == "70 of 76 (openvino)"
    assert report.notes["speed"] == "0.25 times that of float (openvino, here)"
    manifest = read_manifest(tmp_path / "m.xml")
    assert (manifest.kind, manifest.precision) == ("openvino", "int8")
    assert manifest.quant == read_manifest(int8()).quant
    assert (manifest.metrics["int8_convolutions"], manifest.metrics["convolutions"]) == (70, 76)
    assert open_session(tmp_path / "m.xml").run(np.zeros((1, 3, 64, 64), np.float32))


def test_a_graph_for_tensorrt_is_written_unmeasured_and_says_so(
    int8: Callable[..., Path], tmp_path: Path
) -> None:
    report = export("onnx", int8(), tmp_path / "m.onnx", engine="tensorrt")
    assert report.notes["speed"] == "not measured: tensorrt builds its engine on the device"
    assert "int8_convolutions" not in report.notes
    kinds = {
        numpy_helper.to_array(t).dtype for t in onnx.load(tmp_path / "m.onnx").graph.initializer
    }
    assert np.dtype(np.int8) in kinds
    assert np.dtype(np.uint8) not in kinds


def test_a_graph_that_strays_is_refused_and_not_written(
    int8: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object) -> onnx.ModelProto:
        graph = for_engine(*args)  # type: ignore[arg-type]
        for tensor in graph.graph.initializer:
            values = numpy_helper.to_array(tensor)
            if values.dtype == np.int8 and values.ndim == 4:
                tensor.CopyFrom(numpy_helper.from_array(values // 2, tensor.name))
        return graph

    monkeypatch.setattr(steps, "for_engine", broken)
    with pytest.raises(GateError, match="differs from the INT8 checkpoint by"):
        export("onnx", int8(), tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
def test_groups_in_float_are_float_in_the_engine_and_all_others_int8(
    int8: Callable[..., Path], tmp_path: Path, target: str
) -> None:
    if importlib.util.find_spec(target) is None:
        pytest.skip(f"{target} is not installed here")
    model, manifest = load_checkpoint(int8())
    assert isinstance(model, QuantizedDetector)
    model.eval().keep_in_float(IN_FLOAT)
    path = tmp_path / "m.onnx"
    sealed = write_onnx(
        for_engine(build_graph(model, manifest), target),
        dataclasses.replace(manifest, kind="onnx"),
        path,
    )
    found = coverage(path, target)
    assert (found.int8, found.total) == (70 - 12, 76)
    images = np.stack(draw_images(2, size=64)).transpose(0, 3, 1, 2).astype(np.float32) / 255
    session = open_session(path, engine=target)
    check_rounding(model, sealed, session, images, target, source="")  # raises where it strays


def test_dynamo_is_refused_for_it_cannot_trace_the_rounding(
    int8: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="dynamo cannot trace an INT8 checkpoint") as caught:
        export("onnx", int8(), tmp_path / "m.onnx", exporter="dynamo")
    assert caught.value.hint == "--exporter torchscript"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("engine", "uint8"), [("onnxruntime", False), ("openvino", True)])
def test_nms_in_an_int8_graph_is_our_nms_of_the_same_graph(
    int8: Callable[..., Path], tmp_path: Path, engine: str, uint8: bool
) -> None:
    """With a free batch, which OpenVINO gets wrong if it reads such an ONNX file directly."""
    pytest.importorskip(engine)
    model, manifest = load_checkpoint(int8())
    dtype, shape = ("uint8", ("batch", 64, 64, 3)) if uint8 else ("float32", ("batch", 3, 64, 64))
    image = TensorInfo(name="images", dtype=dtype, shape=shape)
    manifest = dataclasses.replace(manifest, kind="onnx", inputs=(image,))
    graph = for_engine(build_graph(model.eval(), manifest, uint8=uint8), engine)
    config = NmsConfig(score_threshold=0.3, iou_threshold=0.5, max_candidates=50, max_detections=20)
    write_onnx(graph, manifest, tmp_path / "raw.onnx")
    suppressing = dataclasses.replace(manifest, form="nms")
    write_onnx(append_nms(graph, config), suppressing, tmp_path / "nms.onnx")
    images = network_input(draw_images(4, size=64))
    raw, inside = (
        infer(open_session(tmp_path / name, engine=engine), images).detections(config)
        for name in ("raw.onnx", "nms.onnx")
    )
    assert coverage(tmp_path / "nms.onnx", engine) == coverage(tmp_path / "raw.onnx", engine)
    for ours, graphs in zip(raw, inside, strict=True):
        assert len(ours) > 3
        assert np.array_equal(ours.classes, graphs.classes)
        assert np.allclose(ours.scores, graphs.scores, atol=1e-5)
        assert np.allclose(ours.boxes_xyxy, graphs.boxes_xyxy, atol=1e-3)


def test_nms_for_openvino_is_not_put_where_it_is_read_wrong(
    int8: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"OpenVINO 2026\.4 gives other boxes") as caught:
        export("onnx", int8(), tmp_path / "m.onnx", engine="openvino", nms="batched")
    assert caught.value.hint.startswith("--to openvino")
    assert list(tmp_path.iterdir()) == []
