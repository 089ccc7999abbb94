from __future__ import annotations

import json

import pytest

from detkit.codec import from_json
from detkit.report import BenchReport

QUICK = ("--seconds", "0", "--runs", "20")


def test_two_models_are_set_side_by_side(detkit, cell_model, cell_folder):
    first, second = cell_model(), cell_model("nms.onnx", nms=True)
    done = detkit("bench", str(first), str(second), *QUICK, "--data", str(cell_folder))
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split()[:2] == ["model", "runtime"]
    assert lines[1].split()[:3] == ["cells.onnx", "onnxruntime", "fp32"]
    assert lines[2].startswith("nms.onnx")
    assert "not to be trusted: cells.onnx: p99 of 20 runs" in done.stderr
    assert "4 pictures from" in done.stderr


def test_a_gate_that_is_missed_exits_3_after_the_report(detkit, cell_model, cell_folder):
    limits = ("--max-ms", "0.0001")
    done = detkit("bench", str(cell_model()), *QUICK, "--data", str(cell_folder), "--json", *limits)
    assert done.returncode == 3
    report = from_json(BenchReport, done.stdout)
    assert set(json.loads(done.stdout)["models"][0]["latency_ms"]) >= {"p50", "p90", "p99"}
    assert f"p50 {report.models[0].latency_ms.p50:.2f} ms is above 0.0001" in done.stderr


def test_times_that_cannot_be_trusted_exit_5_where_that_was_asked_for(
    detkit, cell_model, cell_folder, tmp_path
):
    out = tmp_path / "bench.json"
    args = ("bench", str(cell_model()), *QUICK, "--data", str(cell_folder), "--strict")
    done = detkit(*args, "-q", "-o", str(out))
    assert done.returncode == 5
    assert not from_json(BenchReport, out.read_text()).valid


@pytest.mark.parametrize(
    ("args", "code", "message"),
    [
        (("--batch", "0"), 2, "batch"),
        (("--data", "nowhere"), 1, "nowhere"),
        (("--device", "cuda"), 4, "cuda"),
        (("--runtime", "torch"), 2, "torch cannot run"),
    ],
)
def test_what_cannot_be_is_told_without_a_traceback(detkit, cell_model, args, code, message):
    done = detkit("bench", str(cell_model()), *QUICK, *args)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert "Traceback" not in done.stderr
