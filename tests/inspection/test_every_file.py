"""`detkit info` and `detkit report` know every file and folder that detkit writes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detkit.cli import app
from detkit.core.content_digest import seal
from detkit.core.serialization import from_json, to_json
from detkit.inspection.run_folder import REPORTS, RESULTS_COLUMNS
from detkit.report import Report, report_classes
from detkit.spec.space import SPACES
from detkit.spec.zoo import ZOO


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs a verb in this process: exit code, stdout, stderr."""
    monkeypatch.setattr(app, "_prepare_process", lambda: None)

    def call(*args: object) -> tuple[int, str, str]:
        code = app.main([str(arg) for arg in args])
        return code, *capfd.readouterr()

    return call


@pytest.fixture
def searched(run: Callable[..., tuple[int, str, str]], tmp_path: Path) -> Path:
    """A finished search folder."""
    out = tmp_path / "searched"
    space = ("--space", "tiny", "--imgsz", 64, "--set", "classes=3")
    code, _, stderr = run("search", *space, "--trials", 2, "-o", out)
    assert code == 0, stderr
    return out


def test_kinds_are_derived_from_the_reports_and_each_is_of_one_class() -> None:
    assert sorted(REPORTS.values(), key=id) == sorted(report_classes(), key=id)
    assert len(REPORTS) >= 12
    assert all(REPORTS)


@pytest.mark.parametrize("kind", sorted(REPORTS))
def test_info_reads_a_report_of_every_kind(
    kind: str, sample: Callable[..., Any], run: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    report = sample(REPORTS[kind])
    path = tmp_path / "report.json"
    path.write_text(to_json(report) + "\n")
    assert json.loads(path.read_text())["kind"] == kind
    code, stdout, stderr = run("info", path)
    assert code == 0, stderr
    assert kind in stdout
    code, _, stderr = run("report", path)
    assert code == 1
    assert f"is one file ({kind})" in stderr


def test_what_a_search_leaves_is_known(
    searched: Path, run: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    for name, kind in {
        "": "search folder",
        "report.json": "search report",
        "pareto.json": "search front",
        "journal.sqlite": "search journal",
        "search.toml": "settings",
    }.items():
        code, stdout, stderr = run("info", searched / name)
        assert code == 0, stderr
        assert stdout.splitlines()[1].split(maxsplit=1) == ["kind", kind]
    point = next((searched / "front").iterdir())
    assert "architecture" in run("info", point)[1]
    assert "2 of 2 finished" in run("info", searched)[1]
    assert run("report", searched)[:2] == (0, f"{searched / 'pareto.html'}\n")
    copy = tmp_path / "copy.html"
    assert run("report", searched, "-o", copy)[0] == 0
    assert copy.read_text() == (searched / "pareto.html").read_text()


def test_a_search_that_has_not_ended_says_how_it_goes_on(
    searched: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    (searched / "pareto.html").unlink()
    assert "not ended" in run("info", searched)[1]
    code, _, stderr = run("report", searched)
    assert code == 1
    assert "detkit search --resume" in stderr


def test_what_predict_leaves_is_known(
    run: Callable[..., tuple[int, str, str]],
    cell_model: Callable[..., Path],
    cell_folder: Path,
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    assert run("predict", cell_model(), cell_folder / "images", "-o", out)[0] == 0
    for name, kind in {"detections.json": "detections", "images.json": "image list"}.items():
        code, stdout, stderr = run("info", out / name)
        assert code == 0, stderr
        assert kind in stdout


def test_what_labelling_leaves_is_known(
    run: Callable[..., tuple[int, str, str]],
    cell_model: Callable[..., Path],
    cell_folder: Path,
    tmp_path: Path,
) -> None:
    out = tmp_path / "out"
    args = ("data", "label", cell_folder / "images", "--model", cell_model(), "-o", out)
    assert run(*args)[0] == 0
    for name, kind in {
        "": "labelled folder",
        "report.json": "label report",
        "doubtful.csv": "list of doubtful images",
    }.items():
        code, stdout, stderr = run("info", out / name)
        assert code == 0, stderr
        assert stdout.splitlines()[1].split(maxsplit=1) == ["kind", kind]
    assert "images/a.png (0.1961)" in run("info", out / "doubtful.csv")[1]


def test_what_a_training_leaves_is_known(
    run: Callable[..., tuple[int, str, str]], tmp_path: Path, sample: Callable[..., Any]
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.toml").write_text("epochs = 3\n")
    (folder / "metrics.jsonl").write_text(json.dumps(seal({"epoch": 1, "ap": 0.1})) + "\n")
    table = (RESULTS_COLUMNS, ("7", *("0.25",) * (len(RESULTS_COLUMNS) - 1)))
    (folder / "results.csv").write_text("".join(f"{','.join(row)}\n" for row in table))
    (folder / "mlflow.json").write_text('{"tracking_uri": "sqlite:///a.db", "run_id": "1f"}')
    for name, kind in {
        "": "run folder",
        "config.toml": "settings",
        "metrics.jsonl": "metrics",
        "results.csv": "results of a run",
        "mlflow.json": "run in MLflow",
    }.items():
        code, stdout, stderr = run("info", folder / name)
        assert code == 0, stderr
        assert kind in stdout
    assert "AP 0.25 in epoch 7" in run("info", folder / "results.csv")[1]
    qat = shutil.copytree(folder, tmp_path / "m.qat")
    assert "run folder" in run("info", qat)[1]


def test_specs_are_known(run: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    for name, spec, kind in (
        ("arch", ZOO["yolo-nas-p"], "architecture"),
        ("space", SPACES["tiny"], "search space"),
    ):
        path = tmp_path / f"{name}.json"
        path.write_text(to_json(spec))
        assert kind in run("info", path)[1]


def test_a_report_without_its_kind_says_how_to_get_one(
    sample: Callable[..., Any], run: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    plain = json.loads(to_json(sample(REPORTS["bench report"])))
    del plain["kind"]
    path = tmp_path / "old.json"
    path.write_text(json.dumps(plain))
    code, _, stderr = run("info", path)
    assert code == 1
    assert "make it again" in stderr


@pytest.mark.parametrize("name", ["journal.sqlite", "pareto.json", "metrics.jsonl", "doubtful.csv"])
def test_damaged_ones_are_refused_in_a_line(
    run: Callable[..., tuple[int, str, str]], tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    path.write_bytes(b"\xff\xfe nothing of ours")
    code, stdout, stderr = run("info", path)
    assert (code, stdout) == (1, "")
    assert "Traceback" not in stderr


def test_comparison_that_is_written_is_read(
    sample: Callable[..., Any], run: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    """What `detkit compare -o` writes was refused by `info` once."""
    report = sample(REPORTS["comparison report"])
    assert isinstance(report, Report)
    assert from_json(type(report), to_json(report)) == report
