"""Whole files timed: short plans, so nothing is claimed of the times themselves."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from detkit.bench import run as room
from detkit.bench.measure import Plan, Timing, Warmup
from detkit.bench.run import Candidate, bench, picture_files
from detkit.codec import from_json, to_json
from detkit.data.draw import save_picture
from detkit.errors import ArtifactError, BackendError, DataError
from detkit.report import BenchReport
from detkit.runtime import Placement, open_session

QUICK = Plan(min_seconds=0, min_runs=10, blocks=5, warmup_seconds=0, chain_runs=3)


@pytest.fixture
def pictures(tmp_path):
    """A folder of three different pictures of odd sizes."""
    rng = np.random.default_rng(0)
    for number in range(3):
        pixels = rng.integers(0, 255, (40 + 9 * number, 70, 3)).astype(np.uint8)
        save_picture(tmp_path / "photos" / f"{number}.jpg", pixels)
    return tmp_path / "photos"


def test_the_report_names_models_machine_and_pictures(cell_model, pictures):
    path = cell_model()
    report = bench([path], plan=QUICK, data=pictures, placement=Placement(threads=1))
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
    assert report.pictures == str(pictures)
    assert report.fingerprint["id"]
    assert from_json(BenchReport, to_json(report)) == report


@pytest.mark.parametrize("form", [{"uint8": True}, {"nms": True}, {"uint8": True, "nms": True}])
def test_every_form_of_export_is_timed_beside_the_raw_one(cell_model, pictures, form):
    paths = [cell_model(), cell_model("other.onnx", **form)]
    report = bench(paths, plan=QUICK, data=pictures, batch=2)
    first, other = report.models
    assert (first.ratio_to_first, first.batch) == (1, 2)
    assert other.ratio_to_first > 0
    assert other.form == ("nms" if "nms" in form else "deployed")


def test_engines_told_no_threads_all_get_the_same(cell_model, pictures, monkeypatch):
    monkeypatch.setattr(room, "usable_cpus", lambda: 3)
    report = bench([cell_model()], plan=QUICK, data=pictures)
    assert report.models[0].threads == 3


def test_few_runs_are_a_reason_not_to_trust_the_report(cell_model, pictures):
    report = bench([cell_model()], plan=QUICK, data=pictures)
    assert not report.valid
    assert any("p99 of 10 runs" in reason for reason in report.reasons)


def test_unsteady_and_uneven_times_are_reasons_too(cell_model):
    path = cell_model()
    model = Candidate(path, open_session(path), (), 1)
    warm, cold = Warmup(5, 0.01, True), Warmup(500, 0.01, False)
    even, uneven = ((10.0,) * 60,) * 2, ((10.0,) * 60, (11.0,) * 60)
    assert list(room._doubts([model], [Timing(warm, even)])) == []
    (reason,) = room._doubts([model], [Timing(cold, even)])
    assert "still getting faster after 500" in reason
    (reason,) = room._doubts([model], [Timing(warm, uneven)])
    assert "blocks differ by 10%" in reason


@pytest.mark.parametrize("batch", [1, 2, 3, 4])
@pytest.mark.parametrize("uint8", [False, True])
def test_neighbouring_runs_get_different_pictures_never_zeros(cell_model, pictures, batch, uint8):
    path = cell_model(uint8=uint8)
    with picture_files(pictures) as (files, _):
        model = Candidate(path, open_session(path), files, batch)
        batches = [model.prepare(number) for number in range(4)]
    assert batches[0].dtype == (np.uint8 if uint8 else np.float32)
    assert batches[0].shape == ((batch, 64, 64, 3) if uint8 else (batch, 3, 64, 64))
    for one, next_one in itertools.pairwise(batches):
        assert not np.array_equal(one, next_one)
        assert one.std() > 0


def test_the_data_a_model_was_trained_on_is_used_while_it_is_there(cell_model, pictures):
    here = bench([cell_model(data=str(pictures))], plan=QUICK)
    assert here.pictures == str(pictures)
    gone = bench([cell_model(data=str(pictures / "gone"))], plan=QUICK)
    assert gone.pictures == "drawn pictures"


def test_drawn_pictures_differ_and_are_swept(cell_model):
    with picture_files(None) as (files, source):
        contents = {path.read_bytes() for path in files}
    assert len(contents) == len(files) == room.NUM_PICTURES
    assert source == "drawn pictures"
    assert not files[0].exists()


def test_a_folder_with_one_picture_is_not_enough(cell_model, pictures):
    for path in sorted(pictures.iterdir())[1:]:
        path.unlink()
    with pytest.raises(DataError, match="at least two"):
        bench([cell_model()], plan=QUICK, data=pictures)


def test_models_that_cannot_be_opened_are_told(cell_model, pictures, tmp_path):
    with pytest.raises(ArtifactError, match="no such file"):
        bench([tmp_path / "absent.onnx"], plan=QUICK, data=pictures)
    with pytest.raises(BackendError, match="cuda"):
        bench([cell_model()], plan=QUICK, data=pictures, placement=Placement(device="cuda"))
