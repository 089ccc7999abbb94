from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from detkit.artifact.artifact import Manifest
from detkit.core.errors import BackendError, UsageError
from detkit.engines import ENGINES
from detkit.engines.coverage import coverage
from detkit.engines.opening import open_session
from detkit.engines.tensorrt.engine_file import read_sidecar
from detkit.runtime.session import SessionOptions
from detkit.spec.zoo import ZOO, with_task
from detkit.untrained import EngineSetup, write_untrained_model

SPEC = with_task(ZOO["yolo-nas-p"], 3, (64, 64))


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_int8_untrained_model_runs_its_convolutions_in_int8(tmp_path: Path, engine: str) -> None:
    pytest.importorskip(engine)
    path = tmp_path / "p.onnx"
    manifest = write_untrained_model(SPEC, path, engine=engine, precision="int8")
    found = coverage(path, engine)
    assert manifest.precision == "int8"
    assert found.int8 == found.total - 6  # all but the predictors
    opened = open_session(path, engine=engine).manifest
    assert isinstance(opened, Manifest)
    assert opened.arch == SPEC


@pytest.mark.parametrize("engine", ["torch", "onnxruntime", "openvino"])
def test_float_untrained_model_gives_the_same_on_every_engine(engine: str) -> None:
    pytest.importorskip(engine)
    images = np.random.default_rng(0).random((1, 3, 64, 64), np.float32)
    session_options = SessionOptions(threads=1)
    found = [
        EngineSetup(engine=name, precision="fp32", session_options=session_options)
        .open(SPEC)
        .run(images)
        for name in ("torch", engine)
    ]
    for expected, got in zip(*found, strict=True):
        np.testing.assert_allclose(got, expected, atol=2e-3)


@pytest.mark.parametrize("precision", ENGINES["tensorrt-rtx"].precisions)
def test_engine_is_built_in_the_precision_asked_for(tmp_path: Path, precision: str) -> None:
    pytest.importorskip("tensorrt_rtx")
    path = tmp_path / "p.engine"
    manifest = write_untrained_model(SPEC, path, engine="tensorrt-rtx", precision=precision)
    record = read_sidecar(path)
    assert (manifest.kind, manifest.precision) == ("tensorrt-rtx", precision)
    assert record.manifest == manifest
    assert record.batches == (1, 1, 1)


def test_engine_that_this_machine_cannot_build_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "tensorrt", None)
    with pytest.raises(BackendError, match="tensorrt is not installed"):
        write_untrained_model(SPEC, tmp_path / "p.engine", engine="tensorrt", precision="fp16")


@pytest.mark.parametrize(
    ("engine", "precision", "reason"),
    [
        ("openvino", "fp16", "computes in float32"),
        ("onnxruntime", "fp16", "compute in float32"),
        ("torch", "int8", "tells nothing of an engine's time"),
        ("onnxruntime", "int9", "unknown precision 'int9'"),
        ("onnxrun", "fp32", "unknown engine 'onnxrun'"),
    ],
)
def test_what_cannot_be_timed_is_refused_with_the_reason(
    engine: str, precision: str, reason: str
) -> None:
    with pytest.raises(UsageError, match=reason) as refused:
        EngineSetup(engine=engine, precision=precision, session_options=SessionOptions())
    assert refused.value.hint


def test_every_engine_has_each_precision_or_a_reason() -> None:
    for engine in ENGINES.values():
        assert {*engine.precisions, *dict(engine.without)} == {"fp32", "fp16", "int8"}
