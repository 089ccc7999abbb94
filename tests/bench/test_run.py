"""Whole files timed: short plans, so nothing is claimed of the times themselves."""

from __future__ import annotations

import dataclasses
import itertools
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detkit.bench import timed_model as room
from detkit.bench.run import time_models
from detkit.bench.timed_model import TimedModel, fill_options, image_files
from detkit.core.errors import ArtifactError, BackendError, DataError, UsageError
from detkit.core.serialization import from_json, to_json
from detkit.data.draw import save_image
from detkit.engines.opening import open_session
from detkit.report import BenchReport
from detkit.runtime.graph_session import DeviceTimes, GraphSession
from detkit.runtime.session import SessionOptions
from detkit.timing.cpu_time import works_in_caller
from detkit.timing.plan import TimingPlan

QUICK = TimingPlan(min_seconds=0, min_runs=10, blocks=5, warmup_seconds=0, max_chain_runs=3)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of three different images of odd sizes."""
    rng = np.random.default_rng(0)
    for number in range(3):
        pixels = rng.integers(0, 255, (40 + 9 * number, 70, 3)).astype(np.uint8)
        save_image(tmp_path / "photos" / f"{number}.jpg", pixels)
    return tmp_path / "photos"


def test_the_report_names_models_machine_and_images(
    cell_model: Callable[..., Path], images: Path
) -> None:
    path = cell_model()
    report = time_models([path], plan=QUICK, data=images, session_options=SessionOptions(threads=1))
    (model,) = report.models
    assert (model.file, model.runtime, model.precision) == (str(path), "onnxruntime", "fp32")
    assert (model.image_size, model.batch, model.threads) == ((64, 64), 1, 1)
    assert model.bytes == path.stat().st_size
    assert model.latency_ms.count == len(model.samples_ms) == 10
    assert model.latency_ms.min <= model.latency_ms.p50 <= model.latency_ms.p90
    assert model.images_per_s == pytest.approx(1e3 / model.latency_ms.p50)
    assert model.ratio_to_first == 1
    chain = model.end_to_end_ms
    assert 0 < max(chain.preprocess, chain.engine, chain.nms) < chain.total <= chain.total_p99
    assert report.images == str(images)
    assert report.fingerprint["id"]
    assert from_json(BenchReport, to_json(report)) == report


@pytest.mark.parametrize("form", [{"uint8": True}, {"nms": True}, {"uint8": True, "nms": True}])
def test_every_form_of_export_is_timed_beside_the_raw_one(
    cell_model: Callable[..., Path], images: Path, form: dict[str, bool]
) -> None:
    paths = [cell_model(), cell_model("other.onnx", **form)]
    report = time_models(paths, plan=QUICK, data=images, batch=2)
    first, other = report.models
    assert (first.ratio_to_first, first.batch) == (1, 2)
    assert other.ratio_to_first > 0
    assert other.form == ("nms" if "nms" in form else "deployed")


def test_engines_told_no_threads_all_get_the_same(
    cell_model: Callable[..., Path], images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "usable_cpus", lambda: 3)
    report = time_models([cell_model()], plan=QUICK, data=images)
    assert report.models[0].threads == 3


def test_few_runs_are_a_warning_of_the_report(
    cell_model: Callable[..., Path], images: Path
) -> None:
    report = time_models([cell_model()], plan=QUICK, data=images)
    assert not report.valid
    assert any("p99 of 10 runs" in warning for warning in report.warnings)


def test_the_reference_work_is_timed_in_the_rounds_of_the_models(
    cell_model: Callable[..., Path], images: Path
) -> None:
    report = time_models([cell_model()], plan=QUICK, data=images)
    assert report.reference is not None
    assert report.reference.p50_ms > 0
    assert len(report.reference.block_ms) == len(report.models[0].block_ms) == QUICK.blocks


def test_the_state_of_the_machine_is_taken_before_between_and_after(
    cell_model: Callable[..., Path], images: Path
) -> None:
    report = time_models([cell_model()], plan=QUICK, data=images)
    assert len(report.states) == QUICK.blocks + 2
    assert report.states[0].load_average >= 0


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_in_the_throughput_scenario_every_usable_cpu_has_a_batch(
    cell_model: Callable[..., Path], images: Path, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if engine == "openvino":
        pytest.importorskip("openvino", reason="OpenVINO is not installed here")
    monkeypatch.setattr(room, "usable_cpus", lambda: 3)
    plan = dataclasses.replace(QUICK, min_seconds=0.2)
    report = time_models(
        [cell_model()],
        plan=plan,
        data=images,
        batch=2,
        engine=engine,
        scenario="throughput",
    )
    (model,) = report.models
    load = model.throughput
    assert load is not None
    assert (load.in_flight, model.threads, report.scenario) == (3, 1, "throughput")
    assert model.images_per_s == load.images_per_s
    assert load.images_per_s_low <= load.images_per_s <= load.images_per_s_high
    assert model.latency_ms.count >= 3 * QUICK.blocks
    assert from_json(BenchReport, to_json(report)) == report


def test_threads_of_a_batch_leave_room_for_fewer_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "usable_cpus", lambda: 8)
    assert fill_options(SessionOptions(threads=3), "throughput") == SessionOptions(
        threads=3, in_flight=2
    )
    assert fill_options(SessionOptions(threads=9), "throughput") == SessionOptions(
        threads=9, in_flight=1
    )
    assert fill_options(SessionOptions(), "latency") == SessionOptions(threads=8)
    assert fill_options(SessionOptions(device="cuda"), "throughput").in_flight == 2


def test_cpu_time_is_that_of_a_thread_that_does_the_work(
    cell_model: Callable[..., Path], images: Path
) -> None:
    def compute(index: int) -> None:
        sum(range(200_000))

    def let_others_compute(index: int) -> None:
        thread = threading.Thread(target=compute, args=(index,))
        thread.start()
        thread.join()

    assert works_in_caller(compute, 1)
    assert not works_in_caller(let_others_compute, 1)
    report = time_models(
        [cell_model()], plan=QUICK, data=images, session_options=SessionOptions(threads=1)
    )
    assert len(report.models[0].block_cpu_ms) == QUICK.blocks
    assert report.reference is not None
    assert len(report.reference.block_cpu_ms) == QUICK.blocks


def test_an_engine_without_threads_of_ours_has_no_throughput_scenario(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "usable_cpus", lambda: 2)
    with pytest.raises(UsageError, match="torch has no throughput scenario"):
        time_models([checkpoint], plan=QUICK, scenario="throughput")


def test_an_engine_that_times_itself_is_told_apart_from_its_copies(
    cell_model: Callable[..., Path], images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = cell_model()
    session = open_session(path)
    assert isinstance(session, GraphSession)
    monkeypatch.setattr(session, "runner", TimedByItself(session.runner))
    monkeypatch.setattr("detkit.bench.run.open_sessions", lambda *_: (session,))
    (model,) = time_models([path], plan=QUICK, data=images).models
    assert (model.clock, model.latency_ms.p50, model.latency_ms.p99) == ("device", 3.0, 3.0)
    assert (model.upload_ms, model.download_ms) == (0.25, 0.125)
    assert model.wall_ms is not None
    assert model.wall_ms.p50 != 3.0
    assert model.images_per_s == pytest.approx(1e3 / model.wall_ms.p50)
    chain = model.end_to_end_ms
    assert (chain.upload, chain.download) == (0.25, 0.125)


class TimedByItself:
    """A runner that says it took 3 ms, and its copies 0.25 and 0.125."""

    engine = "onnxruntime"

    def __init__(self, runner: Any) -> None:
        self.runner = runner
        self.output_names = runner.output_names
        self.last_times = DeviceTimes(upload=0.0, compute=0.0, download=0.0)

    def run(self, images: Any, outputs: Any) -> Any:
        found = self.runner.run(images, outputs)
        self.last_times = DeviceTimes(upload=0.25, compute=3.0, download=0.125)
        return found


def test_energy_is_that_of_an_image(
    cell_model: Callable[..., Path], images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = itertools.count()

    def joules(work: Callable[[], object], clock: object, **_: object) -> float:
        work()
        return 6.0

    monkeypatch.setattr("detkit.bench.run.measure_joules", joules)
    report = time_models(
        [cell_model()], plan=QUICK, data=images, batch=3, clock=lambda: next(ticks)
    )
    # A plan of no seconds is one run, of 3 images.
    assert report.models[0].energy_mj_per_image == pytest.approx(6e3 / 3)


@pytest.mark.parametrize("batch", [1, 2, 3, 4])
@pytest.mark.parametrize("uint8", [False, True])
def test_neighbouring_runs_get_different_images_never_zeros(
    cell_model: Callable[..., Path], images: Path, batch: int, uint8: bool
) -> None:
    path = cell_model(uint8=uint8)
    with image_files(images) as (files, _):
        model = TimedModel(path, (open_session(path),), files, batch)
        batches = [model.prepare(number) for number in range(4)]
    assert batches[0].dtype == (np.uint8 if uint8 else np.float32)
    assert batches[0].shape == ((batch, 64, 64, 3) if uint8 else (batch, 3, 64, 64))
    for one, next_one in itertools.pairwise(batches):
        assert not np.array_equal(one, next_one)
        assert one.std() > 0


def test_the_data_a_model_was_trained_on_is_used_while_it_is_there(
    cell_model: Callable[..., Path], images: Path
) -> None:
    here = time_models([cell_model(data=str(images))], plan=QUICK)
    assert here.images == str(images)
    gone = time_models([cell_model(data=str(images / "gone"))], plan=QUICK)
    assert gone.images == "synthetic images"


def test_synthetic_images_differ_and_are_swept(cell_model: Callable[..., Path]) -> None:
    with image_files(None) as (files, source):
        contents = {path.read_bytes() for path in files}
    assert len(contents) == len(files) == room.NUM_IMAGES
    assert source == "synthetic images"
    assert not files[0].exists()


def test_a_folder_with_one_image_is_not_enough(
    cell_model: Callable[..., Path], images: Path
) -> None:
    for path in sorted(images.iterdir())[1:]:
        path.unlink()
    with pytest.raises(DataError, match="at least two"):
        time_models([cell_model()], plan=QUICK, data=images)


def test_models_that_cannot_be_opened_are_told(
    cell_model: Callable[..., Path], images: Path, tmp_path: Path
) -> None:
    with pytest.raises(ArtifactError, match="no such file"):
        time_models([tmp_path / "absent.onnx"], plan=QUICK, data=images)
    with pytest.raises(BackendError, match="cuda"):
        time_models(
            [cell_model()], plan=QUICK, data=images, session_options=SessionOptions(device="cuda")
        )
