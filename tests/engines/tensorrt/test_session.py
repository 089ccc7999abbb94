"""The engine session on its error paths, and the names it calls by version of TensorRT.

TensorRT and the GPU are faked here for control flow alone: who is asked, in which order, and what
is said when the answer is no. Whether an engine computes the right boxes is for a machine with a
GPU (`examples/gpu_check.sh`).
"""

from __future__ import annotations

import ast
import itertools
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import detkit
from detkit.artifact.artifact import Manifest, TensorInfo
from detkit.bench.run import time_models
from detkit.core.errors import ArtifactError, BackendError
from detkit.engines.opening import open_session
from detkit.engines.tensorrt import build_machine as machine
from detkit.engines.tensorrt import session as session_module
from detkit.engines.tensorrt.api import EngineTensor, LoadedEngine
from detkit.engines.tensorrt.build_machine import Machine
from detkit.engines.tensorrt.device import BACK_ENDS, open_device
from detkit.engines.tensorrt.engine_file import EngineSidecar, write_engine
from detkit.engines.tensorrt.plan import EnginePlan
from detkit.engines.tensorrt.session import TensorrtRunner
from detkit.machine.gpu import Gpu
from detkit.runtime.graph_session import GraphSession, last_device_times
from detkit.runtime.session import SessionOptions
from detkit.runtime.session_factory import make_session
from detkit.spec.preprocess import Preprocess
from detkit.spec.zoo import ZOO, with_task
from detkit.timing.plan import TimingPlan

HERE = Machine(gpu="GPU", compute_capability="8.7", driver="12.6", library="tensorrt", version="10")
SPEC = with_task(ZOO["yolo-nas-p"], 3, (64, 64))


def record(**changes: Any) -> EngineSidecar:
    dtype = changes.pop("dtype", "float32")
    shape = ("batch", 64, 64, 3) if dtype == "uint8" else ("batch", 3, 64, 64)
    manifest = Manifest(
        kind="tensorrt",
        arch=SPEC,
        form="deployed",
        class_names=("a", "b", "c"),
        preprocess=Preprocess(size=(64, 64), fit=(64, 64)),
        inputs=(TensorInfo(name="images", dtype=dtype, shape=shape),),
    )
    fields = {"manifest": manifest, "machine": HERE, "batches": (1, 1, 4), "graph_sha256": "0" * 64}
    return EngineSidecar(**{**fields, **changes})


# --- opening -------------------------------------------------------------------------------------


class RefusingTensorrt:
    """A TensorRT that must not be reached."""

    __version__ = "10"

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"TensorRT was asked for {name}")


@pytest.fixture
def fake_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU and a TensorRT that say their names and nothing else."""
    gpu = Gpu(name="GPU", compute_capability="8.7", driver="12.6")
    monkeypatch.setattr(machine, "find_gpu", lambda index: gpu)
    monkeypatch.setattr(session_module, "import_library", lambda library: RefusingTensorrt())


def test_without_a_gpu_an_engine_is_refused(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("detkit.machine.gpu.DRIVER", "libno_such_driver.so.1")
    monkeypatch.setattr(session_module, "import_library", lambda library: RefusingTensorrt())
    write_engine(tmp_path / "m.engine", b"engine", record())
    with pytest.raises(BackendError, match="no NVIDIA GPU here"):
        open_session(tmp_path / "m.engine", session_options=SessionOptions(device="cuda"))


def test_on_the_cpu_it_is_refused(tmp_path: Path) -> None:
    write_engine(tmp_path / "m.engine", b"engine", record())
    with pytest.raises(BackendError, match="TensorRT cannot run on device 'cpu'"):
        open_session(tmp_path / "m.engine")


@pytest.mark.usefixtures("fake_machine")
def test_an_engine_of_another_version_never_reaches_tensorrt(tmp_path: Path) -> None:
    other = Machine(gpu="GPU", compute_capability="8.7", library="tensorrt", version="10.3")
    write_engine(tmp_path / "m.engine", b"engine", record(machine=other))
    with pytest.raises(BackendError, match=r"tensorrt 10\.3, not 10 as here"):
        open_session(tmp_path / "m.engine", session_options=SessionOptions(device="cuda"))


@pytest.mark.usefixtures("fake_machine")
def test_without_gpu_memory_each_back_end_says_why(tmp_path: Path, monkeypatch: Any) -> None:
    def absent(index: int) -> Any:
        raise ModuleNotFoundError("No module named 'pycuda'")

    def broken(index: int) -> Any:
        raise BackendError("cudaSetDevice: no device")

    monkeypatch.setattr("detkit.engines.tensorrt.device.BACK_ENDS", {"a": absent, "b": broken})
    write_engine(tmp_path / "m.engine", b"engine", record())
    with pytest.raises(BackendError, match="a: No module named 'pycuda'; b: cudaSetDevice"):
        open_session(tmp_path / "m.engine", session_options=SessionOptions(device="cuda"))


def test_without_any_package_for_gpu_memory_each_is_named(monkeypatch: Any) -> None:
    for package in ("pycuda", "pycuda.driver", "cuda", "cuda.bindings", "torch"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(BackendError, match="no way to the memory of the GPU") as raised:
        open_device(0)
    assert [name for name in BACK_ENDS if f"{name}: " in str(raised.value)] == list(BACK_ENDS)
    wanted = "pip install 'detkit[tensorrt]'; on a Jetson: pip install 'detkit[jetson]'"
    assert raised.value.hint == wanted


@pytest.mark.parametrize(
    ("library", "module"),
    [
        ("tensorrt", "tensorrt"),
        ("tensorrt-rtx", "tensorrt_rtx"),
    ],
)
def test_tensorrt_that_is_not_installed_is_named(
    library: str, module: str, monkeypatch: Any
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(BackendError, match=f"{library} is not installed here") as raised:
        machine.import_library(library)
    assert raised.value.hint.startswith(f"pip install 'detkit[{library}]';")


# --- running -------------------------------------------------------------------------------------


class FakeContext:
    """Accepts what it is told to; its outputs follow the batch of the input."""

    def __init__(self) -> None:
        self.runs, self.fails, self.batch = 0, False, 0

    def set_tensor_address(self, name: str, address: int) -> None: ...

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.batch = shape[0]
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (self.batch, 84, {"boxes": 4, "scores": 3}[name])

    def execute_async_v3(self, stream: int) -> bool:
        self.runs += 1
        return not self.fails


class FakeEngine:
    def __init__(self, dtype: Any = np.float32) -> None:
        shape = (-1, 64, 64, 3) if dtype == np.uint8 else (-1, 3, 64, 64)
        self.context, self.log = FakeContext(), type("Log", (), {"errors": ["out of memory"]})()
        self.tensors = (
            EngineTensor("images", True, dtype, shape, (4, *shape[1:])),
            EngineTensor("boxes", False, np.float32, (-1, 84, 4), (-1, 84, 4)),
            EngineTensor("scores", False, np.float32, (-1, 84, 3), (-1, 84, 3)),
        )


class FakeDevice:
    """Counts what it is asked for."""

    stream = 7

    def __init__(self) -> None:
        self.allocated: list[int] = []
        self.uploaded: list[Any] = []
        self.captures = self.launches = self.waits = 0

    def allocate(self, size: int) -> int:
        self.allocated.append(size)
        return len(self.allocated)

    def upload(self, address: int, source: Any) -> None:
        self.uploaded.append(source)

    def download(self, target: Any, address: int) -> None:
        target[:] = address

    def synchronize(self) -> None:
        self.waits += 1

    def event(self) -> list[int]:
        return [0]

    def record(self, event: list[int]) -> None:
        event[0] = len(self.uploaded)

    def elapsed_ms(self, start: Any, end: Any) -> float:
        return float(end[0] - start[0])

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        self.captures += 1
        work()

        def launch() -> None:
            self.launches += 1

        return launch


def session(dtype: Any = np.float32) -> tuple[GraphSession, FakeEngine, FakeDevice]:
    engine, device = FakeEngine(dtype), FakeDevice()
    made = record(dtype=np.dtype(dtype).name)
    runner = TensorrtRunner(made, engine, device)  # type: ignore[arg-type]
    return make_session(runner, Path("m.engine"), made.manifest), engine, device


def images(batch: int) -> np.ndarray:
    return np.full((batch, 3, 64, 64), 0.2, np.float32)


def test_buffers_hold_the_largest_batch_and_are_made_once() -> None:
    runner, _, device = session()
    for batch in (1, 4, 2):
        runner.run(images(batch))
    assert device.allocated == [4 * 3 * 64 * 64 * 4, 4 * 84 * 4 * 4, 4 * 84 * 3 * 4]


def test_outputs_come_back_by_name_in_the_shape_of_the_batch() -> None:
    runner, _, device = session()
    boxes, scores = runner.run(images(3))
    assert boxes.shape == (3, 84, 4)
    assert scores.shape == (3, 84, 3)
    assert (boxes == 2).all()
    assert (scores == 3).all()
    assert device.waits == 1


def test_a_batch_size_that_comes_again_becomes_a_graph() -> None:
    runner, engine, device = session()
    for _ in range(4):
        runner.run(images(2))
    assert (device.captures, device.launches) == (1, 3)
    assert engine.context.runs == 2  # the first run, and the one that was captured
    runner.run(images(1))
    assert (device.captures, device.launches) == (1, 3)  # a graph of two images is of no use


@pytest.mark.parametrize("batch", [0, 5])
def test_a_batch_that_was_not_built_for_is_refused(batch: int) -> None:
    runner, _, _ = session()
    words = f"cannot run an input of {batch}x3x64x64: it was built for batches of 1 to 4"
    with pytest.raises(ArtifactError, match=words):
        runner.run(images(batch))


def test_a_run_that_does_not_start_says_what_tensorrt_said() -> None:
    runner, engine, _ = session()
    engine.context.fails = True
    with pytest.raises(ArtifactError, match="cannot run an input of 1x3x64x64: out of memory"):
        runner.run(images(1))


def test_pixels_are_what_a_uint8_engine_is_fed_with() -> None:
    runner, _, device = session(np.uint8)
    runner.run(images(2))
    assert device.uploaded[0].shape == (2, 64, 64, 3)
    assert (device.uploaded[0] == 51).all()


def test_times_of_the_last_run_are_told_apart() -> None:
    runner, _, _ = session()
    runner.run(images(1))
    times = last_device_times(runner)
    assert times is not None
    assert (times.upload, times.compute, times.download) == (1.0, 0.0, 0.0)


def test_an_engine_that_takes_no_times_tells_none(cell_model: Callable[..., Path]) -> None:
    assert last_device_times(open_session(cell_model())) is None


def test_bench_reports_the_gpu_s_own_time_and_its_copies(monkeypatch: Any, tmp_path: Path) -> None:
    runner, _, device = session()
    parts = itertools.cycle((0.5, 3.0, 0.25))
    monkeypatch.setattr(device, "elapsed_ms", lambda start, end: next(parts))
    monkeypatch.setattr("detkit.bench.run.open_sessions", lambda *_: (runner,))
    write_engine(tmp_path / "m.engine", b"engine", record())
    plan = TimingPlan(min_seconds=0, min_runs=20, blocks=5, warmup_seconds=0, max_chain_runs=3)
    session_options = SessionOptions(device="cuda")
    report = time_models([tmp_path / "m.engine"], plan=plan, session_options=session_options)
    (model,) = report.models
    assert (model.runtime, model.clock, model.latency_ms.p50) == ("tensorrt", "device", 3.0)
    assert (model.upload_ms, model.download_ms) == (0.5, 0.25)
    assert model.wall_ms is not None
    assert (model.end_to_end_ms.upload, model.end_to_end_ms.download) == (0.5, 0.25)
    assert report.reference is None  # the CPU's speed says nothing of the GPU's


# --- the calls -----------------------------------------------------------------------------------

HOME = Path(detkit.__file__).parent / "engines" / "tensorrt"
NAMES = json.loads(Path(__file__).with_name("tensorrt_api.json").read_text())
# What each object in the sources below is, of TensorRT's classes.
OBJECTS = {
    "builder": "Builder",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "error": "ParserError",
    "config": "IBuilderConfig",
    "shapes": "IOptimizationProfile",
    "cache": "ITimingCache",
    "_runtime": "Runtime",
    "_engine": "ICudaEngine",
    "engine": "ICudaEngine",
    "context": "IExecutionContext",
}


def called(file: str) -> Iterator[tuple[str, str]]:
    """(class, name) of every attribute that the file takes of TensorRT."""
    for node in ast.walk(ast.parse((HOME / file).read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Attribute):
            continue
        owner = node.value
        name = getattr(owner, "attr", getattr(owner, "id", ""))
        if name == "trt":
            yield "", node.attr
        elif isinstance(owner, ast.Attribute) and getattr(owner.value, "id", "") == "trt":
            yield owner.attr, node.attr
        elif name in OBJECTS and not (file == "session.py" and name != "context"):
            yield OBJECTS[name], node.attr


CALLS = sorted({call for file in ("api.py", "session.py") for call in called(file)})


def test_the_scan_finds_the_calls() -> None:
    assert ("", "Builder") in CALLS
    assert ("NetworkDefinitionCreationFlag", "STRONGLY_TYPED") in CALLS
    assert ("IExecutionContext", "execute_async_v3") in CALLS
    assert ("OnnxParser", "parse") in CALLS
    assert len(CALLS) > 35


@pytest.mark.parametrize("version", NAMES)
def test_every_name_is_in_tensorrt(version: str) -> None:
    """10.3 is of JetPack 6, 10.16 of JetPack 7, 11.4 the newest; from their real bindings."""
    classes = NAMES[version]
    missing = [
        f"{owner}.{name}"
        for owner, name in (*CALLS, *(("BuilderFlag", flag) for flag in EnginePlan().flags))
        if name not in (classes if owner == "" else classes[owner])
    ]
    assert missing == []


def test_every_name_is_in_tensorrt_rtx() -> None:
    trt = pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed here")
    for owner, name in CALLS:
        assert hasattr(getattr(trt, owner) if owner else trt, name)


GONE = re.compile(
    r"BuilderFlag\.(FP16|INT8|BF16|FP8)|Calibrator|int8_calibrator|EXPLICIT_BATCH|supports_model\("
    r"|execute_async_v2|device_memory_size(?!_v2)|num_bindings|platform_has_fast|dynamic_range"
)


@pytest.mark.parametrize("file", sorted(path.name for path in HOME.glob("*.py")))
def test_nothing_is_called_that_tensorrt_11_has_dropped(file: str) -> None:
    assert GONE.search((HOME / file).read_text(encoding="utf-8")) is None


def test_what_is_said_to_be_dropped_is_dropped() -> None:
    old, new = NAMES["10.3.0"], next(NAMES[v] for v in NAMES if v.startswith("11."))
    for owner, name in (
        ("BuilderFlag", "FP16"),
        ("BuilderFlag", "INT8"),
        ("NetworkDefinitionCreationFlag", "EXPLICIT_BATCH"),
        ("OnnxParser", "supports_model"),
        ("ICudaEngine", "device_memory_size"),
        ("IBuilderConfig", "int8_calibrator"),
        ("Builder", "platform_has_fast_fp16"),
    ):
        assert name in old[owner]
        assert name not in new[owner]


def test_an_engine_that_is_none_is_refused_by_tensorrt_rtx() -> None:
    trt = pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX is not installed here")
    with pytest.raises(ArtifactError, match="TensorRT refuses the engine"):
        LoadedEngine(trt, b"no engine")
