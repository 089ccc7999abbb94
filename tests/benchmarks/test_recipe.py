"""The sweep over settings: which runs it plans, and what its table compares with what."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from detkit.data.synthetic.synth import synthesize

RECIPE = Path(__file__).parents[2] / "benchmarks" / "recipe.py"


def recipe(*args: str | Path) -> str:
    command = [sys.executable, str(RECIPE), *map(str, args)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def record(label: str, name: str, seed: int, ap: float) -> dict[str, object]:
    fixed = {"init": "none", "init_digest": "", "epochs": 10}
    return {
        "key": f"{label}{name}{seed}",
        "label": label,
        "set": name,
        "seed": seed,
        "ap": ap,
    } | fixed


def test_the_first_seed_of_all_variants_comes_first(tmp_path: Path) -> None:
    asked = ("plan", tmp_path, tmp_path, "--results", tmp_path / "none.jsonl")
    lines = recipe(*asked, "--factors", "freeze", "--sets", "bccd", "raccoon")
    keys = [line.removeprefix("to do  ") for line in lines.splitlines()]
    assert keys[6] == "bccd-yolo-nas-n-none-base-e10-s1"
    assert keys[:4] == [
        "bccd-yolo-nas-n-none-base-e10-s0",
        "raccoon-yolo-nas-n-none-base-e10-s0",
        "bccd-yolo-nas-n-none-freeze=early-e10-s0",
        "raccoon-yolo-nas-n-none-freeze=early-e10-s0",
    ]


def test_a_variant_is_compared_with_its_base_on_the_same_set_and_seed(tmp_path: Path) -> None:
    results = tmp_path / "recipe.jsonl"
    records = [
        record("base", "bccd", 0, 0.50),
        record("base", "bccd", 1, 0.60),
        record("base", "orchard", 0, 0.30),
        record("batch=8", "bccd", 0, 0.52),
        record("batch=8", "bccd", 1, 0.62),
        record("batch=8", "vegetables", 0, 0.90),  # nothing to compare with
        record("batch=8+loss.cls=2", "bccd", 0, 0.51),
    ]
    results.write_text("".join(json.dumps(row) + "\n" for row in records))
    lines = recipe("table", "--results", results).splitlines()
    assert lines[0] == "10 epochs from scratch:"
    assert lines[-3:] == [
        "| `base` | 42.5 +- 5.0 | 55.0 | - | 30.0 | - | 3 |",
        "| `batch=8` | +2.0 +- 0.0 | +2.0 | - | - | - | 2 |",
        "| `batch=8+loss.cls=2` | -1.0 | -1.0 | - | - | - | 1 |",
    ]


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets")
    synthesize(folder / "raccoon", images={"train": 8, "val": 4}, size=96, seed=3)
    return folder


def test_a_run_is_a_line_with_its_settings_and_figures(sets: Path, tmp_path: Path) -> None:
    results = tmp_path / "recipe.jsonl"
    flags = ["--epochs", "1", "--seeds", "0", "--factors", "batch", "--sets", "raccoon"]
    said = recipe(
        "run", sets, tmp_path / "work", *flags, "--only", "*batch=4*", "--results", results
    )
    assert said.splitlines()[-1].startswith("done     raccoon-yolo-nas-n-none-batch=4-e1-s0")
    (found,) = [json.loads(line) for line in results.read_text().splitlines()]
    assert (found["batch"], found["images_seen"], found["epochs"]) == (4, 8, 1)
    assert (found["split"], found["checkpoint"]) == ("val", "last")
    assert 0 <= found["ap"] <= found["ap50"] <= 1
    assert str(tmp_path) not in json.dumps(found)
