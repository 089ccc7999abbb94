from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detkit.core.content_digest import seal
from detkit.core.errors import ArtifactError
from detkit.core.serialization import to_json, to_plain
from detkit.inspection.run_folder import REPORTS, kind_of, read_json_file, read_run_folder


@pytest.mark.parametrize("kind", sorted(REPORTS))
def test_every_report_is_recognised_by_its_kind(
    kind: str, sample: Callable[..., Any], tmp_path: Path
) -> None:
    report = sample(REPORTS[kind])
    path = tmp_path / "x.json"
    path.write_text(to_json(report), encoding="utf-8")
    assert read_json_file(path) == (kind, report)


@pytest.mark.parametrize("plain", [None, 1, "x", [], {}, {"ap": 1}, {"images": [], "name": "x"}])
def test_other_json_is_no_record(plain: dict[str, Any]) -> None:
    assert kind_of(plain) == ""


def write_metrics(run: Path, *rows: dict[str, Any], tail: str = "") -> None:
    """The epochs of a run as `train` writes them, and a last piece of a line."""
    text = "".join(json.dumps(seal(row)) + "\n" for row in rows) + tail
    (run / "metrics.jsonl").write_text(text, encoding="utf-8")


def test_epoch_trained_again_after_resume_counts_once(tmp_path: Path) -> None:
    rows = [{"epoch": 1, "ap": 0.1}, {"epoch": 2, "ap": 0.2}, {"epoch": 2, "ap": 0.3}]
    write_metrics(tmp_path, *rows)
    assert [(e.number, e.values) for e in read_run_folder(tmp_path).epochs] == [
        (1, {"ap": 0.1}),
        (2, {"ap": 0.3}),
    ]


def test_last_line_cut_by_a_kill_is_left_out(tmp_path: Path) -> None:
    write_metrics(tmp_path, {"epoch": 1}, tail='{"epo')
    assert len(read_run_folder(tmp_path).epochs) == 1


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        *(json.dumps(seal(row)) for row in ({}, {"epoch": "x"}, {"epoch": 1, "per_class": 3})),
    ],
)
def test_damaged_line_inside_names_its_place(tmp_path: Path, line: str) -> None:
    (tmp_path / "metrics.jsonl").write_text(f'{line}\n{{"epoch": 1}}\n', encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"metrics.jsonl, line 1: not the record of an epoch"):
        read_run_folder(tmp_path)


def test_values_that_are_no_finite_numbers_are_left_out(tmp_path: Path) -> None:
    odd = {"ap": math.nan, "lr": "x", "loss": True, "ap50": None}
    write_metrics(tmp_path, {"epoch": 1, **odd, "seconds": 2})
    assert read_run_folder(tmp_path).epochs[0].values == {"seconds": 2.0}


def test_only_reports_are_picked_from_the_json_files(
    tmp_path: Path, sample: Callable[..., Any]
) -> None:
    (tmp_path / "config.toml").write_text("epochs = 3\n", encoding="utf-8")
    (tmp_path / "detections.json").write_text("[]", encoding="utf-8")
    (tmp_path / "broken.json").write_bytes(b"\xff")
    report = sample(REPORTS["train report"])
    (tmp_path / "report.json").write_text(to_json(report), encoding="utf-8")
    run = read_run_folder(tmp_path)
    assert run.reports == {"report.json": report}
    assert run.train_report == report
    assert run.unread == {"broken.json": f"{tmp_path}/broken.json: not UTF-8 text"}
    assert run.files == ("broken.json", "config.toml", "detections.json", "report.json")


def test_report_with_a_value_of_the_wrong_type_is_damaged(
    tmp_path: Path, sample: Callable[..., Any]
) -> None:
    plain = seal(to_plain(sample(REPORTS["train report"])) | {"epochs": "many"})
    path = tmp_path / "report.json"
    path.write_text(to_json(plain), encoding="utf-8")
    with pytest.raises(ArtifactError, match=r"report.json.epochs: expected int, got 'many'"):
        read_json_file(path)
