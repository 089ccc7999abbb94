"""Models that cannot be run: one clear error each, by `bench` and by `eval`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from detkit.artifact.artifact import Manifest
from detkit.engines.tensorrt.build_machine import Machine
from detkit.engines.tensorrt.engine_file import EngineSidecar, write_engine
from detkit.spec.preprocess import Preprocess
from detkit.spec.zoo import ZOO, with_task
from fixtures.command_line import Detkit

MAIN = "from detkit.cli.app import main; sys.exit(main())"
WITHOUT_OPENVINO = f"import sys; sys.modules['openvino'] = None\n{MAIN}"
ORIN_HERE = f"""
import sys, types
from detkit.engines.tensorrt import build_machine as machine
from detkit.machine.gpu import Gpu
machine.find_gpu = lambda index: Gpu(name="Orin", compute_capability="8.7", driver="12.6")
sys.modules["tensorrt"] = types.SimpleNamespace(__version__="10.3.0")  # and nothing to run with
{MAIN}
"""


@pytest.fixture(params=["bench", "eval"])
def run(request: pytest.FixtureRequest, detkit: Detkit, cell_folder: Path) -> Detkit:
    """`run(MODEL, FLAGS...)` by either verb."""

    def by_verb(
        path: Path, *flags: str, script: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        data = ("--data", str(cell_folder)) if request.param == "bench" else (str(cell_folder),)
        quick = ("--seconds", "0", "--runs", "10") if request.param == "bench" else ()
        by = {"script": script} if script else {}
        return detkit(request.param, str(path), *data, *quick, *flags, **by)

    return by_verb


def assert_refused(done: subprocess.CompletedProcess[str], code: int, *words: str) -> None:
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


def test_an_onnx_that_is_no_detector(run: Detkit, tmp_path: Path) -> None:
    classifier = onnx.parser.parse_model("""
<ir_version: 8, opset_import: ["" : 17]>
g (float[1,3,32,32] x) => (float[1,3] y) { y = ReduceMean <axes = [2, 3], keepdims = 0> (x) }
""")
    onnx.save(classifier, tmp_path / "c.onnx")
    assert_refused(run(tmp_path / "c.onnx"), 1, "another tool made it", "hint: ", "--outputs")
    done = run(tmp_path / "c.onnx", "--outputs", "yolov8")
    assert_refused(done, 1, "output 'y' is (1, 3); expected (B, 4 + C, A)")


def test_an_input_of_another_shape(run: Detkit, described_graph: Callable[..., Path]) -> None:
    def shrink(model: onnx.ModelProto) -> None:
        model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 1

    done = run(described_graph("yolov8", change=shrink), "--outputs", "yolov8")
    assert_refused(done, 1, "input 'x' is (batch, 1, 64, 64) float32; expected (B, 3, H, W)")


def test_a_size_that_the_graph_cannot_be_run_at(
    run: Detkit, described_graph: Callable[..., Path], tmp_path: Path
) -> None:
    def leave_open(model: onnx.ModelProto) -> None:
        for dim in model.graph.input[0].type.tensor_type.shape.dim[2:]:
            dim.dim_param = "side"

    path = described_graph("yolov8", change=leave_open)
    assert_refused(run(path, "--outputs", "yolov8"), 2, "(batch, 3, side, side), of any size")
    (tmp_path / "d.json").write_text('{"preset": "yolov8", "input": {"size": [96, 96]}}')
    done = run(path, "--outputs", str(tmp_path / "d.json"))
    assert_refused(done, 1, "cannot run an input of ")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.onnx", b"", "is empty"),
        ("text.onnx", b"A plain text, and no model.\n" * 9, "is not an ONNX file"),
        ("model.txt", b"text", "is not a detkit artifact"),
        ("m.engine", b"engine", "has no m.engine.json beside it"),
    ],
)
def test_files_of_other_kinds(
    run: Detkit, tmp_path: Path, name: str, content: bytes, words: str
) -> None:
    (tmp_path / name).write_bytes(content)
    assert_refused(run(tmp_path / name), 1, words)


def test_what_is_no_file(run: Detkit, tmp_path: Path) -> None:
    (tmp_path / "folder.onnx").mkdir()
    assert_refused(run(tmp_path / "folder.onnx"), 1, "is a folder, not a model")
    assert_refused(run(tmp_path / "lost.onnx"), 1, "no such file: ")


def test_files_cut_short(
    run: Detkit, cell_model: Callable[..., Path], described_graph: Callable[..., Path]
) -> None:
    mine, other = cell_model(), described_graph("yolov8")
    for path in (mine, other):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert_refused(run(mine), 1, "is not an ONNX file, or is cut short")
    done = run(other, "--outputs", "yolov8")
    assert_refused(done, 1, "is not an ONNX file, or is cut short")


def test_a_file_larger_than_memory_is_not_read(run: Detkit, tmp_path: Path) -> None:
    with (tmp_path / "huge.onnx").open("wb") as file:
        file.truncate(1 << 42)  # a hole, which takes no space
    assert_refused(run(tmp_path / "huge.onnx"), 1, "has 4398.0 GB, and there are ", "GB of memory")


@pytest.mark.parametrize("location", ["../outside.bin", "beside.bin", "/etc/passwd"])
def test_weights_in_other_files(
    run: Detkit, described_graph: Callable[..., Path], location: str
) -> None:
    def point_outside(model: onnx.ModelProto) -> None:
        tensor = model.graph.initializer.add(name="w", data_type=1, dims=[64])
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=location)

    done = run(described_graph("yolov8", change=point_outside), "--outputs", "yolov8")
    assert_refused(done, 1, "keeps tensors in other files", "hint: onnx.save(")


def test_a_runtime_that_is_not_installed(run: Detkit, cell_model: Callable[..., Path]) -> None:
    done = run(cell_model(), "--runtime", "openvino", script=WITHOUT_OPENVINO)
    assert_refused(done, 4, "openvino", "hint: pip install")


@pytest.mark.skipif(sys.platform != "linux", reason="engines are run on Linux")
def test_an_engine_of_another_gpu(run: Detkit, tmp_path: Path) -> None:
    spec = with_task(ZOO["yolo-nas-p"], 2, (64, 64))
    manifest = Manifest(
        kind="tensorrt",
        arch=spec,
        form="deployed",
        class_names=("red", "green"),
        preprocess=Preprocess(size=(64, 64), fit=(64, 64)),
    )
    built_on = Machine(
        gpu="RTX 4090", compute_capability="8.9", library="tensorrt", version="10.3.0"
    )
    record = EngineSidecar(
        manifest=manifest, machine=built_on, batches=(1, 1, 8), graph_sha256="0" * 64
    )
    path: Path = tmp_path / "m.engine"
    write_engine(path, b"engine", record)
    done = run(path, "--device", "cuda", script=ORIN_HERE)
    words = "is for GPU RTX 4090, not Orin; compute capability 8.9, not 8.7 as here"
    assert_refused(done, 4, words, "hint: build it here: detkit export --to tensorrt")
