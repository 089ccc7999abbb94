"""Engines by the real builder of TensorRT-RTX, which needs no GPU; nothing here runs one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import onnx
import pytest
from onnx import ModelProto

import detkit.engines.tensorrt.export as exporter
from detkit.artifact.artifact import read_manifest, sha256_of
from detkit.core.boxes import PREDICT_NMS
from detkit.core.errors import ArtifactError, BackendError, UsageError
from detkit.engines.exporting import ExportOptions
from detkit.engines.opening import open_session
from detkit.engines.tensorrt.api import run_builder
from detkit.engines.tensorrt.build_machine import RTX
from detkit.engines.tensorrt.engine_file import read_sidecar
from detkit.engines.tensorrt.export import build_engine, export, export_rtx
from detkit.engines.tensorrt.plan import EnginePlan
from detkit.export.half import to_half
from detkit.export.nms import append_nms
from detkit.machine.gpu import find_gpu
from detkit.runtime.session import SessionOptions


@pytest.fixture
def rtx() -> ModuleType:
    module: ModuleType = pytest.importorskip(
        "tensorrt_rtx", reason="TensorRT-RTX is not installed here"
    )
    return module


@pytest.fixture
def no_gpu() -> None:
    try:
        find_gpu()
    except BackendError:
        return
    pytest.skip("there is a GPU here")


@pytest.mark.parametrize(("half", "precision"), [(False, "fp32"), (True, "fp16")])
@pytest.mark.parametrize("uint8", [False, True])
@pytest.mark.usefixtures("no_gpu")
def test_rtx_engine_says_what_it_is(
    checkpoint: Path, tmp_path: Path, rtx: ModuleType, half: bool, precision: str, uint8: bool
) -> None:
    out = tmp_path / "m.engine"
    options = ExportOptions(half=half, uint8=uint8, batches=(1, 2, 4))
    report = export_rtx(checkpoint, out, options)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.engine", "m.engine.json"]
    manifest = read_manifest(out)
    assert manifest.kind == RTX
    assert manifest.precision == precision
    assert manifest.inputs[0].dtype == ("uint8" if uint8 else "float32")
    assert manifest.parents[0].sha256 == sha256_of(checkpoint)
    assert manifest.versions[RTX] == rtx.__version__
    assert manifest.digest == sha256_of(out)
    record = read_sidecar(out)
    assert record.batches == (1, 2, 4)
    assert record.machine.version == rtx.__version__
    assert record.machine.gpu == ""
    assert report.difference is None  # and so no figure of the ONNX draft is handed on
    assert not any(name.startswith("difference") for name in manifest.metrics)
    assert "no GPU" in report.notes["not_run"]


@pytest.mark.usefixtures("no_gpu", "rtx")
def test_an_engine_without_a_gpu_is_refused_by_name(checkpoint: Path, tmp_path: Path) -> None:
    export_rtx(checkpoint, tmp_path / "m.engine", ExportOptions())
    with pytest.raises(BackendError, match="no NVIDIA GPU here"):
        open_session(tmp_path / "m.engine", session_options=SessionOptions(device="cuda"))


@pytest.mark.usefixtures("rtx")
def test_fp16_engines_are_about_half_as_large(float_graph: Callable[..., ModelProto]) -> None:
    graph = float_graph("yolo-nas-n")
    sizes = [len(build_engine(form, RTX, EnginePlan()).engine) for form in (graph, to_half(graph))]
    assert sizes[1] < 0.65 * sizes[0]


@pytest.mark.usefixtures("rtx")
def test_int8_engines_are_built_by_the_same_function(quantized_graph: ModelProto) -> None:
    for graph in (quantized_graph, to_half(quantized_graph)):
        built = build_engine(graph, RTX, EnginePlan(batches=(1, 1, 2)))
        assert built.layers > 20
        assert built.machine.library == RTX


def test_a_timing_cache_can_be_given(quantized_graph: ModelProto, rtx: ModuleType) -> None:
    """To TensorRT; of TensorRT-RTX the calls are there, and `export` does not make them."""
    plan = EnginePlan()
    with pytest.warns(DeprecationWarning, match="no-ops in TensorRT-RTX"):
        built = run_builder(
            rtx,
            quantized_graph.SerializeToString(),
            profile=plan.profile(quantized_graph),
            flags=plan.flags,
            level=plan.level,
            timing_cache=b"",
        )
    assert len(built.engine) > 1000


@pytest.mark.usefixtures("rtx")
@pytest.mark.parametrize("half", [False, True])
def test_an_int8_checkpoint_becomes_an_engine(int8_graph: ModelProto, half: bool) -> None:
    graph = to_half(int8_graph) if half else int8_graph
    convolutions = [node for node in graph.graph.node if node.op_type == "Conv"]
    producers = {name: node.op_type for node in graph.graph.node for name in node.output}
    quantized = [n for n in convolutions if producers.get(n.input[1]) == "DequantizeLinear"]
    assert len(quantized) == len(convolutions) - 6  # all but the predictors of the three heads
    assert {producers[node.input[0]] for node in quantized} == {"DequantizeLinear"}
    assert build_engine(graph, RTX, EnginePlan()).layers > 500


@pytest.mark.usefixtures("rtx")
def test_a_graph_that_breaks_a_rule_is_refused_before_it_is_built(
    quantized_graph: ModelProto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporter, "run_builder", None)
    (zero,) = (t for t in quantized_graph.graph.initializer if t.name == "zero")
    zero.CopyFrom(onnx.helper.make_tensor("zero", onnx.TensorProto.INT8, [], [4]))
    with pytest.raises(ArtifactError, match="has the zero point 4; TensorRT has none but 0"):
        build_engine(quantized_graph, RTX, EnginePlan())


@pytest.mark.usefixtures("rtx")
def test_what_the_parser_refuses_is_told_with_its_node() -> None:
    text = '<ir_version: 9, opset_import: ["" : 17]> g (float[n] x) => (float[n] y)'
    graph = onnx.parser.parse_model(text + " { [odd] y = Twist (x) }")
    with pytest.raises(ArtifactError, match=r"TensorRT cannot read the graph: Twist 'odd'"):
        build_engine(graph, RTX, EnginePlan())


def test_rtx_reads_nms_and_cannot_build_it(
    float_graph: Callable[..., ModelProto], rtx: ModuleType
) -> None:
    """Where this fails a newer TensorRT-RTX can, and `--nms` need not be refused any more."""
    graph, plan = append_nms(float_graph("yolo-nas-p"), PREDICT_NMS), EnginePlan()
    with pytest.raises(ArtifactError, match=r"cannot build the engine: .*no runners"):
        run_builder(
            rtx,
            graph.SerializeToString(),
            profile=plan.profile(graph),
            flags=plan.flags,
            level=plan.level,
            timing_cache=None,
        )


@pytest.mark.usefixtures("no_gpu")
def test_tensorrt_itself_needs_a_gpu_and_says_so_before_it_works(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        exporter, "import_library", lambda library: type("Trt", (), {"__version__": "10"})
    )
    monkeypatch.setattr(exporter, "convert_checkpoint", None)
    with pytest.raises(BackendError, match="no NVIDIA GPU here"):
        export(checkpoint, tmp_path / "m.engine", ExportOptions())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (ExportOptions(nms="batched"), "--nms is not for engines: TensorRT-RTX reads ONNX's"),
        (ExportOptions(batches=(4, 2, 1)), "batches 4:2:1 make no sense"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(
    checkpoint: Path, tmp_path: Path, options: ExportOptions, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        export_rtx(checkpoint, tmp_path / "m.engine", options)
