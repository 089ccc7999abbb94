from __future__ import annotations

from pathlib import Path

import pytest

from detkit.core.serialization import from_json
from detkit.report import CompareReport
from fixtures.command_line import Detkit

QUICK = (
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


def test_table_says_that_weights_are_untrained(detkit: Detkit) -> None:
    done = detkit("compare", *QUICK, "--precision", "fp32")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].split()[:3] == ["model", "M", "params"]
    assert "int8" not in lines[0]
    assert lines[1].split()[:2] == ["yolo-nas-p", "0.55"]
    assert lines[1].split()[-1] == "-"  # nothing published
    assert "untrained" in lines[-1]
    assert "will take about" in done.stderr
    assert "unreliable" in done.stderr


def test_report_is_on_stdout_and_in_the_file(detkit: Detkit, tmp_path: Path) -> None:
    out = tmp_path / "compared.json"
    done = detkit("compare", *QUICK, "--json", "-o", str(out), "--strict")
    assert done.returncode == 5
    report = from_json(CompareReport, done.stdout)
    assert out.read_text() == done.stdout
    assert [f.measured.precision for f in report.models[0].files] == ["fp32", "int8"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("compare", "yolov9"), "unknown model 'yolov9'"),
        (("compare", "yolo-nas-p", "--max-ms", "3"), "--max-ms"),
        (("compare", "yolo-nas-p", "--imgsz", "100"), "multiples of 32"),
        (("compare",), "missing argument 'MODEL'"),
        (("bench", "m.onnx", "--imgsz", "64"), "--imgsz"),
        (("bench", "--compare", "yolo-nas-p"), "hint: detkit compare --help"),
        (("bench", "out/pareto.json"), "hint: detkit profile out/pareto.json"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    detkit: Detkit, args: tuple[str, ...], message: str
) -> None:
    done = detkit(*args)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
