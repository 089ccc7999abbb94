"""The plan and the table of `benchmarks/field.py`: only what was measured is claimed."""

import json
import os
import subprocess
import sys
from pathlib import Path

FIELD = Path(__file__).parents[2] / "benchmarks" / "field.py"


def field(*args: str | Path, **env: str) -> str:
    command = [sys.executable, str(FIELD), *map(str, args)]
    found = subprocess.run(
        command, check=True, capture_output=True, text=True, env={**os.environ, **env}
    )
    return found.stdout


def record(**given: object) -> dict[str, object]:
    plain: dict[str, object] = {
        "kind": "training",
        "set": "bccd",
        "model": "yolo-nas-n",
        "init": "none",
        "init_digest": "",
        "epochs": 30,
        "seed": 0,
        "label": "",
        "ap": 0.5,
        "ap50": 0.8,
        "seconds": 90.0,
        "quiet": True,
        "date": "2026-11-30T12:00:00",
    }
    row = plain | given
    return {"key": "-".join(map(str, row.values())), **row}


def table(tmp_path: Path, *records: dict[str, object]) -> list[str]:
    results = tmp_path / "field.jsonl"
    results.write_text("".join(json.dumps(row) + "\n" for row in records))
    return field("table", "--results", results).splitlines()


def test_the_plan_has_scratch_first_and_peers_only_where_they_are(tmp_path: Path) -> None:
    asked = ("plan", tmp_path, tmp_path / "work", "--results", tmp_path / "none.jsonl")
    without = field(*asked, PEERS="").splitlines()
    beside = field(*asked, PEERS=str(tmp_path)).splitlines()
    assert without[0] == "to do  bccd-yolo-nas-n-none-e10-s0"
    assert not any("yolov8n" in line for line in without)
    assert "to do  vegetables-yolo26n-none-e30-s0" in beside
    assert not (tmp_path / "work").exists()


def test_another_file_of_starting_weights_makes_other_jobs(tmp_path: Path) -> None:
    plans = []
    for content in (b"one", b"two"):
        starter = tmp_path / "starter.safetensors"
        starter.write_bytes(content)
        command = ("plan", tmp_path, tmp_path, "--results", tmp_path / "none.jsonl")
        chosen = ("--starter", starter, "--only", "*-starter-*-e30-s0")
        plans.append(set(field(*command, *chosen).splitlines()[:4]))
    assert not plans[0] & plans[1]


def test_the_table_shows_means_with_their_spread_and_a_dash_where_nothing_is(
    tmp_path: Path,
) -> None:
    lines = table(
        tmp_path,
        record(seed=0, ap=0.5),
        record(seed=1, ap=0.6),
        record(model="yolov8n", ap=0.4),
        record(model="yolov8n", epochs=22, ap=0.3),
        record(label="speed", epochs=3),
        record(label="speed", epochs=3, model="yolov8n", quiet=False),
    )
    ours = next(line for line in lines if "| yolo-nas-n, from scratch" in line)
    peer = next(line for line in lines if "YOLOv8n" in line)
    assert ours == (
        "| bccd, test, best | yolo-nas-n, from scratch | - | 0.550 +- 0.071 | 0.800 +- 0.000"
        " | - | - | - | 15.0 |"
    )
    assert peer == (
        "| bccd, test, best | YOLOv8n, from scratch | - | 0.400 | 0.800 | 0.300 (22 epochs)"
        " | - | - | - |"
    )
    assert lines[-1] == (
        "- yolo-nas-n against YOLOv8n, from scratch, 30 epochs: +15.0 points on average of 1 sets"
        " (bccd +15.0)."
    )


def test_runs_from_earlier_weights_are_left_out_of_the_table(tmp_path: Path) -> None:
    lines = table(
        tmp_path,
        record(init="starter", init_digest="aa", ap=0.1, date="2026-11-30T10:00:00"),
        record(init="starter", init_digest="bb", ap=0.7, date="2026-11-30T11:00:00"),
    )
    assert "0.700 |" in next(line for line in lines if "from the starter" in line)


def test_the_table_is_written_between_its_marks_alone(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- field: begin -->\nold\n<!-- field: end -->\nafter\n")
    results = tmp_path / "none.jsonl"
    field("table", "--results", results, "--readme", readme)
    text = readme.read_text()
    assert text.startswith("before\n<!-- field: begin -->\n| set |")
    assert text.endswith("<!-- field: end -->\nafter\n")
    assert "old" not in text


def test_short_trainings_from_the_starter_are_set_against_long_ones_from_scratch(
    tmp_path: Path,
) -> None:
    starter = {"init": "starter", "init_digest": "aa"}
    lines = table(
        tmp_path,
        record(ap=0.5),
        record(epochs=10, ap=0.3),
        record(epochs=6, ap=0.52, **starter),
        record(epochs=10, ap=0.55, **starter),
        record(epochs=80, ap=0.625, **starter),
    )
    assert lines[-3:] == [
        "- From the starter against from scratch, 10 epochs: +25.0 points on average of 1 sets"
        " (bccd +25.0).",
        "- 6 epochs from the starter against 30 from scratch: +2.0 points on average of 1 sets"
        " (bccd +2.0).",
        "- AP after 80 epochs from the starter: bccd 0.625.",
    ]
