from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np
import onnx
import pytest

from detkit.artifact.artifact import read_manifest, write_pair
from detkit.core.errors import ArtifactError, BackendError, UsageError
from detkit.engines.exporting import ExportOptions
from detkit.engines.onnxruntime.export import export
from detkit.engines.opening import open_session
from detkit.runtime.graph_session import GraphSession
from detkit.runtime.session import SessionOptions

needs_openvino = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="openvino is not installed here"
)


def open_openvino(path: Path, **session_options: Any) -> GraphSession:
    session = open_session(
        path, engine="openvino", session_options=SessionOptions(**session_options)
    )
    assert isinstance(session, GraphSession)
    return session


@needs_openvino
@pytest.mark.parametrize("threads", [0, 1])
def test_any_batch_gives_what_torch_gives(checkpoint: Path, tmp_path: Path, threads: int) -> None:
    export(checkpoint, tmp_path / "m.onnx", ExportOptions())
    ours, theirs = open_session(checkpoint), open_openvino(tmp_path / "m.onnx", threads=threads)
    for count in (1, 2, 5):
        images = np.random.default_rng(0).random((count, 3, 64, 64), dtype=np.float32)
        (boxes, scores), (other_boxes, other_scores) = ours.run(images), theirs.run(images)
        assert np.abs(boxes - other_boxes).max() < 1e-2
        assert np.abs(scores - other_scores).max() < 1e-4  # bfloat16 would be off by 1e-2


@needs_openvino
def test_threads_streams_and_precision_are_those_asked_for(cell_model: Callable[..., Path]) -> None:
    runner: Any = open_openvino(cell_model(), threads=1).runner
    graph = runner.graph
    assert graph.get_property("INFERENCE_NUM_THREADS") == 1
    assert graph.get_property("NUM_STREAMS") == 1
    assert graph.get_property("INFERENCE_PRECISION_HINT").get_type_name() == "f32"


@needs_openvino
def test_one_image_and_many_have_graphs_of_one_file_and_equal_results(
    cell_model: Callable[..., Path],
) -> None:
    path = cell_model()
    session = open_openvino(path)
    path.unlink()  # what was checked is what is run, whatever becomes of the file
    images = np.random.default_rng(0).random((3, 3, 64, 64), dtype=np.float32)
    boxes, scores = session.run(images)
    for index in range(3):
        alone = session.run(images[index : index + 1])
        assert np.array_equal(alone[0][0], boxes[index])
        assert np.allclose(alone[1][0], scores[index], atol=1e-6)
    runner: Any = session.runner
    assert runner.graph.inputs[0].partial_shape[0].is_static
    assert runner.graph_of_any_batch.inputs[0].partial_shape[0].is_dynamic


@needs_openvino
def test_the_first_batch_size_has_a_graph_of_its_own_and_others_share_one(
    cell_model: Callable[..., Path],
) -> None:
    session = open_openvino(cell_model())
    runner: Any = session.runner
    images = np.random.default_rng(0).random((5, 3, 64, 64), dtype=np.float32)
    whole, again, _, shared = (session.run(images[:count]) for count in (4, 4, 1, 3))
    assert [graph.inputs[0].shape[0] for graph in runner._sized.values()] == [1, 4]
    assert np.array_equal(whole[0], again[0])
    assert np.array_equal(shared[0], whole[0][:3])
    assert "graph_of_any_batch" in vars(runner)  # compiled for the three


@needs_openvino
def test_int8_images_give_the_same_alone_and_in_any_batch(
    int8_graph: onnx.ModelProto, images: np.ndarray, tmp_path: Path
) -> None:
    from detkit.engines.openvino.session import OpenVinoRunner

    onnx.save(int8_graph, tmp_path / "m.onnx")
    runner = OpenVinoRunner(tmp_path / "m.onnx", SessionOptions(threads=1))
    outputs = ("boxes", "scores")
    alone = [runner.run(images[index : index + 1], outputs) for index in range(4)]
    for count in (4, 2, 3):  # of a graph of its own, and of the one for any size
        boxes, scores = runner.run(images[:count], outputs)
        for index, (own_boxes, own_scores) in enumerate(alone[:count]):
            assert np.abs(boxes[index] - own_boxes[0]).max() < 1e-3
            assert np.abs(scores[index] - own_scores[0]).max() < 1e-6


@needs_openvino
def test_convolutions_of_a_float_graph_run_in_float(checkpoint: Path, tmp_path: Path) -> None:
    from detkit.engines.openvino.session import precision_of_convolutions

    export(checkpoint, tmp_path / "m.onnx", ExportOptions())
    found = precision_of_convolutions(tmp_path / "m.onnx")
    assert list(found) == ["f32"]
    assert found["f32"] > 50
    assert precision_of_convolutions(open_openvino(tmp_path / "m.onnx")) == found


@needs_openvino
def test_results_outlive_the_next_run(cell_model: Callable[..., Path]) -> None:
    session = open_openvino(cell_model())
    images = np.random.default_rng(0).random((2, 3, 64, 64), dtype=np.float32)
    _, first = session.run(images)
    kept = first.copy()
    session.run(1 - images)
    assert np.array_equal(first, kept)


@pytest.fixture
def cell_pair(cell_model: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """`cell_model` as OpenVINO's two files, the .xml changed by `change(text)` before the seal."""

    def write(change: Callable[[str], str] = lambda text: text) -> Path:
        from detkit.engines.openvino.export import write_openvino

        cells, pair = cell_model(), tmp_path / "cells.xml"
        sealed = write_openvino(onnx.load(cells), read_manifest(cells), pair)
        text, weights = pair.read_text(), pair.with_suffix(".bin").read_bytes()

        def rewrite(partial: Path, partial_weights: Path, manifest_json: str) -> None:
            entry = f"<rt_info><detkit value={quoteattr(manifest_json)} /></rt_info>"
            bare = re.sub("\t<rt_info>.*?\n\t</rt_info>", "", text, flags=re.DOTALL)
            partial.write_text(change(bare).replace("</net>", f"{entry}</net>"))
            partial_weights.write_bytes(weights)

        write_pair(pair, sealed, rewrite)
        return pair

    return write


@needs_openvino
def test_a_pair_of_its_own_format_gives_what_the_onnx_file_gives(
    cell_model: Callable[..., Path], cell_pair: Callable[..., Path]
) -> None:
    images = np.random.default_rng(0).random((3, 3, 64, 64), dtype=np.float32)
    (boxes, scores), (other_boxes, other_scores) = (
        session.run(images) for session in (open_session(cell_pair()), open_session(cell_model()))
    )
    assert np.array_equal(boxes, other_boxes)
    assert np.allclose(scores, other_scores, atol=1e-6)


@needs_openvino
@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('names="scores"', 'names="points"', "no output scores"),
        ('type="AvgPool"', 'type="NoSuchLayer"', "cannot be loaded: .*NoSuchLayer"),
        ('size="16"', 'size="99999"', "cannot be loaded: "),  # beyond the end of the .bin
    ],
)
def test_a_network_openvino_cannot_use_is_refused(
    cell_pair: Callable[..., Path], before: str, after: str, message: str
) -> None:
    def change(text: str) -> str:
        assert before in text
        return text.replace(before, after)

    pair = cell_pair(change)
    with pytest.raises(ArtifactError, match=message):
        open_session(pair)


@needs_openvino
@pytest.mark.parametrize("engine", ["onnxruntime", "torch"])
def test_its_own_format_is_for_no_other_engine(cell_pair: Callable[..., Path], engine: str) -> None:
    with pytest.raises(UsageError, match=f"{engine} cannot run cells.xml") as caught:
        open_session(cell_pair(), engine=engine)
    assert caught.value.hint == "openvino can"


SIGNALLED = """
import faulthandler, os, pathlib, signal, sys
import numpy as np
from detkit.engines.opening import open_session
faulthandler.enable()  # whose signal stack is the one in use
signal.signal(signal.SIGCHLD, lambda *_: print("handled"))
path, images = pathlib.Path(sys.argv[1]), np.zeros((2, 3, 64, 64), np.float32)
for _ in range(3):
    old, new = (open_session(path, engine="openvino") for _ in range(2))
    old.run(images), new.run(images)
    del old, new
    os.kill(os.getpid(), signal.SIGCHLD)
"""


@needs_openvino
def test_signals_are_handled_after_sessions_have_come_and_gone(
    cell_model: Callable[..., Path],
) -> None:
    args = [sys.executable, "-c", SIGNALLED, str(cell_model())]
    done = subprocess.run(args, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "handled\n" * 3), done.stderr


@needs_openvino
def test_devices_that_are_not_here_are_told(cell_model: Callable[..., Path]) -> None:
    for device in ("cuda", "gpu", "npu", "cpu:1"):
        with pytest.raises(BackendError, match=device):
            open_openvino(cell_model(), device=device)
    assert open_openvino(cell_model(), device="auto").engine == "openvino"


@needs_openvino
def test_opening_a_model_loads_no_telemetry(tmp_path: Path) -> None:
    script = (
        "import sys, detkit.engines.openvino.session\n"
        "print([name for name in sys.modules if name.startswith('openvino_telemetry')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env={**os.environ, "HOME": str(tmp_path)},
        timeout=60,
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "[]", "")
    assert list(tmp_path.iterdir()) == []  # where the telemetry keeps the user's id


def test_a_machine_without_openvino_is_told_what_to_install(
    cell_model: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    for name in ("session", "api"):
        monkeypatch.delitem(sys.modules, f"detkit.engines.openvino.{name}", raising=False)
    with pytest.raises(BackendError, match="openvino is not installed") as caught:
        open_openvino(cell_model())
    assert caught.value.hint == "pip install 'detkit[openvino]'"
