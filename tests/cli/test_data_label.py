"""`detkit data label` as a script sees it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from detkit.cli.command import build
from detkit.cli.verb_table import VERBS
from detkit.core.serialization import from_json
from detkit.report import LabelReport
from fixtures.command_line import Detkit


def test_stdout_is_the_folder_that_check_eval_and_info_take(
    detkit: Detkit, cell_model: Callable[..., Path], cell_folder: Path, tmp_path: Path
) -> None:
    out, model = tmp_path / "out", str(cell_model())
    flags = ("--val-share", "0.5", "-o", str(out))
    done = detkit("data", "label", str(cell_folder / "images"), "--model", model, *flags)
    assert (done.returncode, done.stdout) == (0, f"{out}\n"), done.stderr
    assert "4 images (train 2, val 2), 1 without boxes, 0 hard-linked, the others" in done.stderr
    assert "look first at images/" in done.stderr
    assert sorted(path.name for path in out.iterdir()) == [
        *(".detkit.json", "annotations", "doubtful.csv", "images", "report.json", "sheets")
    ]
    checked = detkit("data", "check", str(out))
    assert (checked.returncode, checked.stdout.splitlines()[-1]) == (0, "no faults")
    scored = detkit("eval", model, str(out), "--json")
    assert json.loads(scored.stdout)["ap"] == pytest.approx(1)
    shown = detkit("info", str(out / "report.json"))
    assert (shown.returncode, "label report" in shown.stdout) == (0, True)


def test_training_takes_the_folder_at_once(
    detkit: Detkit, cell_model: Callable[..., Path], cell_folder: Path, tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    out, run = tmp_path / "out", tmp_path / "run"
    flags = ("--model", str(cell_model()), "--val-share", "0.5", "-o", str(out))
    assert detkit("data", "label", str(cell_folder / "images"), *flags).returncode == 0
    args = ("--model", "yolo-nas-p", "--imgsz", "64", "--epochs", "1", "--batch", "2")
    done = detkit("train", str(out), *args, "--set", "workers=0", "-o", str(run))
    assert done.returncode == 0, done.stderr


def test_json_is_the_report_file(
    detkit: Detkit, cell_model: Callable[..., Path], cell_folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    images, model = str(cell_folder / "images"), str(cell_model())
    done = detkit("data", "label", images, "--model", model, "-o", str(out), "--json", "-q")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (out / "report.json").read_text()
    assert from_json(LabelReport, done.stdout).counts.boxes == 5


def test_classes_and_scores_are_those_asked_for(
    detkit: Detkit, cell_model: Callable[..., Path], cell_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "map.toml").write_text('red = "lamp"\ngreen = {name = "leaf", score = 0.9}\n')
    base = ("data", "label", str(cell_folder / "images"), "--model", str(cell_model()), "--json")
    mapped = (*base, "--classes", str(tmp_path / "map.toml"))
    done = detkit(*mapped, "-o", str(tmp_path / "a"))
    assert json.loads(done.stdout)["counts"]["boxes_per_class"] == {"lamp": 3, "leaf": 0}
    done = detkit(
        *mapped, "--score-of", "leaf=0.1", "--score-of", "green=0.2", "-o", str(tmp_path / "b")
    )
    assert json.loads(done.stdout)["thresholds"]["least_scores"] == {"red": 0.4, "green": 0.2}
    (tmp_path / "map.json").write_text('{"green": "leaf"}')
    leaves = ("--classes", str(tmp_path / "map.json"), "--unmapped", "drop")
    done = detkit(*base, *leaves, "-o", str(tmp_path / "c"))
    assert json.loads(done.stdout)["counts"]["boxes_per_class"] == {"leaf": 2}


def test_labels_of_people_are_kept_and_what_is_left_out_is_told(
    detkit: Detkit, cell_model: Callable[..., Path], cell_folder: Path, tmp_path: Path
) -> None:
    args = ("data", "label", str(cell_folder), "--model", str(cell_model()))
    done = detkit(*args, "-o", str(tmp_path / "out"))
    assert done.returncode == 0
    assert "warning: 5 boxes of classes that people labelled are left out" in done.stderr
    assert "0 boxes of the model, 5 of people" in done.stderr


def test_a_model_of_another_tool_labels_once_it_is_described(
    detkit: Detkit, described_graph: Callable[..., Path], cell_folder: Path, tmp_path: Path
) -> None:
    def name_classes(model: object) -> None:
        model.metadata_props.add(key="names", value="{0: 'red', 1: 'green'}")  # type: ignore[attr-defined]

    args = ("data", "label", str(cell_folder / "images"), "-o", str(tmp_path / "out"), "--json")
    path = str(described_graph("yolov8", change=name_classes))
    done = detkit(*args, "--model", path)
    assert (done.returncode, "--outputs PRESET" in done.stderr) == (1, True)
    done = detkit(*args, "--model", path, "--outputs", "yolov8")
    assert json.loads(done.stdout)["counts"]["boxes_per_class"] == {"red": 3, "green": 2}
    nameless = str(described_graph("torchvision", "one"))
    done = detkit(*args, "--model", nameless, "--outputs", "torchvision", "--force")
    assert (done.returncode, "does not name its classes" in done.stderr) == (2, True)


def test_duplicates_and_unreadable_images_are_warned_of(
    detkit: Detkit, cell_model: Callable[..., Path], cell_folder: Path, tmp_path: Path
) -> None:
    images = cell_folder / "images"
    shutil.copy(images / "a.png", images / "e.png")
    (images / "x\x1b[31m.png").write_bytes(b"?")
    args = ("data", "label", str(images), "--model", str(cell_model()))
    done = detkit(*args, "-o", str(tmp_path / "out"))
    assert done.returncode == 0
    assert "warning: 1 duplicates left out: e.png is a.png" in done.stderr
    assert "warning: 1 images cannot be read: " in done.stderr
    assert "\x1b" not in done.stderr


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--score", "2"), "--score"),
        (("--score-of", "red"), "write NAME=SCORE"),
        (("--score-of", "red=x"), "write NAME=SCORE"),
        (("--score-of", "red=7"), "a score is a number from 0 to 1"),
        (("--score-of", "reed=0.5"), "did you mean 'red'?"),
        (("--classes", "none.json"), "no such class map file"),
        (("--split", "valid"), "expected train, val or test"),
        (("--unmapped", "lose"), "expected keep or drop"),
        (("--set", "scroe=1"), "did you mean 'score'?"),
        (("--set", "link=3"), "link: expected bool"),
    ],
)
def test_wrong_flags_exit_2_and_write_nothing(
    detkit: Detkit,
    cell_model: Callable[..., Path],
    cell_folder: Path,
    tmp_path: Path,
    flags: tuple[str, ...],
    message: str,
) -> None:
    args = ("data", "label", str(cell_folder / "images"), "--model", str(cell_model()))
    done = detkit(*args, "-o", str(tmp_path / "out"), *flags)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_not_empty_is_refused_before_any_work(
    detkit: Detkit, cell_folder: Path, tmp_path: Path
) -> None:
    args = ("data", "label", str(cell_folder / "images"), "--model", str(tmp_path / "none.onnx"))
    done = detkit(*args, "-o", str(cell_folder), "--force")
    assert (done.returncode, "which is never written to" in done.stderr) == (2, True)
    (tmp_path / "mine.txt").touch()
    done = detkit(*args, "-o", str(tmp_path))
    assert (done.returncode, "already exists" in done.stderr) == (2, True)


def test_help_lists_every_setting() -> None:
    command = build("data label", VERBS["data label"])
    assert command.settings
    text = "\n".join(command.settings.lines())
    assert all(f"  {name}=" in text for name in ("score", "match_iou", "batch", "seed"))
    assert max(map(len, text.splitlines())) <= 104
