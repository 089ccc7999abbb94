"""What a teacher is worth: who trains before whom, and what the table compares."""

import json
import subprocess
import sys
from pathlib import Path

TEACHING = Path(__file__).parents[2] / "benchmarks" / "teaching.py"


def teaching(*args: str | Path) -> list[str]:
    command = [sys.executable, str(TEACHING), *map(str, args)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


def record(key: str, ap: float, **changes: object) -> dict[str, object]:
    fixed = {"set": "bccd", "init": "none", "epochs": 30, "seed": 0, "label": "", "teacher": ""}
    return {"key": key, "model": "yolo-nas-n", "ap": ap} | fixed | changes


def test_teachers_come_first_and_each_student_beside_its_taught_twin(tmp_path: Path) -> None:
    keys = [line.split()[-1] for line in teaching("plan", tmp_path, tmp_path)]
    assert keys[:4] == [
        "bccd-yolo-nas-m-none-e30-s0",
        "vegetables-yolo-nas-m-none-e30-s0",
        "bccd-yolo-nas-n-none-e30-s0",
        "bccd-yolo-nas-n-none-taught-e30-s0",
    ]


def test_a_gain_is_that_of_the_same_seed(tmp_path: Path) -> None:
    teacher, results = "bccd-yolo-nas-m-none-e30-s0", tmp_path / "teaching.jsonl"
    taught = {"label": "taught", "teacher": teacher}
    records = [
        record(teacher, 0.6, model="yolo-nas-m"),
        record("bccd-yolo-nas-n-none-e30-s0", 0.5),
        record("bccd-yolo-nas-n-none-e30-s1", 0.4, seed=1),
        record("bccd-yolo-nas-n-none-taught-e30-s0", 0.52, **taught),
        record("bccd-yolo-nas-n-none-taught-e30-s1", 0.43, seed=1, **taught),
        record("bccd-yolo-nas-n-none-taught-e30-s2", 0.9, seed=2, **taught),  # no twin yet
    ]
    results.write_text("".join(json.dumps(row) + "\n" for row in records))
    assert teaching("table", "--results", results)[-1] == (
        "| bccd | none | 30 | yolo-nas-m | 0.600 | 0.450 +- 0.071 | 0.617 +- 0.249 | +2.5 |"
    )
