from __future__ import annotations

from detkit.cli.verbs.checks import describe
from detkit.core.serialization import from_json
from detkit.core.version import VERSION
from detkit.engines import ENGINES
from detkit.report import ChecksReport
from fixtures.command_line import Detkit


def test_a_bug_report_names_versions_engines_and_machine(detkit: Detkit) -> None:
    done = detkit("checks", "--json")
    assert done.returncode == 0, done.stderr
    report = from_json(ChecksReport, done.stdout)
    assert report.packages["detkit"] == VERSION
    assert min(report.disk_free_gb.values()) > 0
    assert [engine.name for engine in report.engines] == list(ENGINES)
    ready = {engine.name for engine in report.engines if engine.is_ready}
    assert {"torch", "onnxruntime", "openvino"} <= ready
    assert done.stderr.count("warning: ") == len(report.warnings)
    lines = describe(report)
    assert lines[0].split() == ["detkit", VERSION]
    assert any(line.split()[:2] == ["onnxruntime", "onnxruntime"] for line in lines)
    assert all(name in line for name, line in zip(ENGINES, lines[-len(ENGINES) :], strict=True))
