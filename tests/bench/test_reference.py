from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from detkit.bench.reference import NAME, _network, open_reference
from detkit.runtime.session import SessionOptions


def test_the_graph_is_what_onnx_takes_for_one() -> None:
    import onnx

    model = onnx.load_from_string(_network())
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == ["Conv", "Relu"] * 6


def test_it_is_the_same_work_in_every_run() -> None:
    """If this fails, the reference has changed and needs another number in its name."""
    import hashlib

    assert NAME.endswith("/1")
    assert hashlib.sha256(_network()).hexdigest()[:16] == "67c8c62e86c413da"


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_each_engine_computes_what_numpy_does(engine: str, tmp_path: Path) -> None:
    if engine == "openvino":
        pytest.importorskip("openvino", reason="OpenVINO is not installed here")
    with open_reference(engine, SessionOptions(threads=1)) as make:
        assert make is not None
        outputs: Any = make()(0)
    (found,) = outputs
    assert found == pytest.approx(expected(), abs=1e-3)


def expected() -> npt.NDArray[np.float32]:
    """The last layer by numpy, from the weights as onnx reads them."""
    import onnx

    graph = onnx.load_from_string(_network()).graph
    maps: npt.NDArray[np.float32]
    maps = np.random.default_rng(0).random((2, 1, 32, 40, 40), np.float32)[0]
    for tensor in graph.initializer:
        weight = onnx.numpy_helper.to_array(tensor)
        padded = np.pad(maps, ((0, 0), (0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
        maps = np.einsum("bchwij,ocij->bohw", windows, weight, optimize=True).clip(0)
    return maps


def test_on_a_gpu_the_work_of_the_cpu_tells_nothing() -> None:
    with open_reference("onnxruntime", SessionOptions(device="cuda")) as make:
        assert make is None


def test_without_onnxruntime_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "detkit.engines.onnxruntime.session", None)
    with open_reference("torch", SessionOptions(threads=1)) as make:
        assert make is None
