"""A report that a person edited is refused, and taken once they say that they meant it."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detkit.core.content_digest import DamagedError, seal
from detkit.core.errors import ArtifactError
from detkit.core.serialization import to_json, to_plain
from detkit.inspection.edited import accept_edits
from detkit.inspection.run_folder import read_json_file, read_metrics
from detkit.report import ParetoPoint, TrainReport
from detkit.spec.zoo import ZOO

ROWS: list[dict[str, Any]] = [
    {"epoch": 1, "ap": 0.25, "per_class": {"a": None}},
    {"epoch": 2, "ap": 0.5},
]


def test_an_edited_report_is_refused_until_it_is_accepted(
    tmp_path: Path, sample: Callable[..., Any]
) -> None:
    report, path = sample(TrainReport, ap=0.25), tmp_path / "report.json"
    path.write_text(to_json(report).replace("0.25", "0.75"))
    with pytest.raises(DamagedError, match=r"report\.json is damaged or was edited") as caught:
        read_json_file(path)
    assert f"detkit info {path} --accept-edits" in caught.value.hint
    accept_edits(path)
    assert read_json_file(path)[1] == dataclasses.replace(report, ap=0.75)


def test_networks_of_a_front_may_be_picked_but_not_changed(
    tmp_path: Path, sample: Callable[..., Any]
) -> None:
    points = [sample(ParetoPoint, name=name, latency_ms=2.5) for name in "abc"]
    path = tmp_path / "pareto.json"
    path.write_text(json.dumps(json.loads(to_json(points))[1:]))
    assert read_json_file(path)[0] == "search front"
    path.write_text(path.read_text().replace("2.5", "1.5", 1))
    with pytest.raises(DamagedError, match="network 0"):
        read_json_file(path)
    accept_edits(path)
    assert read_json_file(path)[0] == "search front"


def test_an_architecture_that_a_verb_wrote_is_held_to_its_digest(tmp_path: Path) -> None:
    path = tmp_path / "arch.json"
    path.write_text(to_json(seal(to_plain(ZOO["yolo-nas-p"]) | {"reg_max": 17})))
    assert read_json_file(path)[0] == "architecture"
    path.write_text(path.read_text().replace("17", "19"))
    with pytest.raises(DamagedError):
        read_json_file(path)
    accept_edits(path)
    assert read_json_file(path)[0] == "architecture"


def test_rows_of_metrics_are_held_to_their_digests(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(seal(row)) + "\n" for row in ROWS))
    assert [epoch.values["ap"] for _, epoch in read_metrics(path)] == [0.25, 0.5]
    path.write_text(path.read_text().replace("0.25", "0.35"))
    with pytest.raises(DamagedError, match=r"metrics\.jsonl, line 1"):
        read_metrics(path)
    whole = path.read_text()
    for damaged in (whole.replace("content_digest", "content_digesu"), whole[:-1] + "J"):
        path.write_text(damaged)
        with pytest.raises(ArtifactError, match=r"metrics\.jsonl, line [12]"):
            read_metrics(path)
    path.write_text(whole)
    accept_edits(path)
    assert [epoch.values["ap"] for _, epoch in read_metrics(path)] == [0.35, 0.5]


@pytest.mark.parametrize(
    "row",
    [
        "[" * 100_000,
        "[1]",
        "1",
        json.dumps(seal({"epoch": "x"})),
        json.dumps(seal({"epoch": math.inf})),
        json.dumps(seal({"per_class": []})),
    ],
)
def test_deep_or_odd_rows_of_metrics_are_named(tmp_path: Path, row: str) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(row + "\n")
    with pytest.raises(ArtifactError, match="line 1: not the record of an epoch"):
        read_metrics(path)


@pytest.mark.parametrize(
    ("name", "text"), [("a.json", "{}"), ("a.json", "{"), ("a.onnx", "x"), ("none.json", None)]
)
def test_what_is_no_json_of_ours_is_not_accepted(
    tmp_path: Path, name: str, text: str | None
) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ArtifactError):
        accept_edits(tmp_path / name)
    assert text is None or (tmp_path / name).read_text() == text
