from __future__ import annotations

import pytest

from detkit.core.serialization import from_json
from detkit.report import CompareReport

QUICK = (
    "--compare",
    "yolo-nas-p",
    "--imgsz",
    "64",
    "--seconds",
    "0",
    "--runs",
    "10",
    "--threads",
    "1",
)


def test_table_says_that_weights_are_untrained(detkit):
    done = detkit("bench", *QUICK, "--precision", "fp32")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split()[:3] == ["model", "M", "params"]
    assert "int8" not in lines[0]
    assert lines[1].split()[:2] == ["yolo-nas-p", "0.55"]
    assert lines[1].split()[-1] == "-"  # nothing published
    assert "untrained" in lines[-1]
    assert "will take about" in done.stderr
    assert "not to be trusted" in done.stderr


def test_report_is_on_stdout_and_in_the_file(detkit, tmp_path):
    out = tmp_path / "compared.json"
    done = detkit("bench", *QUICK, "--json", "-o", str(out), "--strict")
    assert done.returncode == 5
    report = from_json(CompareReport, done.stdout)
    assert out.read_text() == done.stdout
    assert [f.measured.precision for f in report.models[0].files] == ["fp32", "int8"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--compare", "yolov9"), "unknown model 'yolov9'"),
        (("--compare", "yolo-nas-p", "--max-ms", "3"), "--max-ms is not for --compare"),
        (("--compare", "yolo-nas-p", "--imgsz", "100"), "multiples of 32"),
        (("m.onnx", "--imgsz", "64"), "is not for timing files"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(detkit, args, message):
    done = detkit("bench", *args)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
