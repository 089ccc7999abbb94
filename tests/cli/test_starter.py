"""`detkit train` and the starter weights: what it says, where, and when it refuses."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from detkit.artifact.artifact import sha256_of
from detkit.data.synthetic.synth import synthesize
from detkit.nn.checkpoint import load_checkpoint, save_checkpoint
from fixtures.command_line import Detkit

SMALL = "--imgsz 64 --epochs 1 --batch 4 --threads 1 --device cpu --set workers=0".split()
NOTE = "starts from the starter weights yolo-nas-p (Apache-2.0): 100 % of the weights, 2 of 3"
SCRATCH = "from scratch: no starter weights for yolo-nas-n"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("data") / "coco"
    return synthesize(out, images={"train": 4, "val": 2}, size=64, classes=3)


@pytest.fixture(scope="module")
def folder(settled: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Starter weights of yolo-nas-p, one of whose classes is `ring`."""
    model, manifest = load_checkpoint(settled())
    manifest = dataclasses.replace(
        manifest,
        class_names=("ring", "b", "c"),
        licence="Apache-2.0",
        weights_source="detkit starter weights yolo-nas-p",
        weights_dtype="float16",
    )
    out = tmp_path_factory.mktemp("starter")
    save_checkpoint(out / "yolo-nas-p.safetensors", model, manifest)
    return out


@pytest.fixture
def train(fork: Detkit, folder: Path, data: Path) -> Callable[..., CompletedProcess[str]]:
    """`train(FLAGS...)`: on a drawn folder, with these starter weights in the place of ours."""
    script = (
        "import pathlib, sys, detkit.starter\n"
        f"detkit.starter.FOLDER = pathlib.Path({str(folder)!r})\n"
        "from detkit.cli.app import main\n"
        "sys.exit(main())"
    )
    return lambda *flags: fork("train", str(data), *SMALL, *map(str, flags), script=script)


def test_it_starts_from_them_by_default_and_says_so_everywhere(
    train: Callable[..., CompletedProcess[str]], fork: Detkit, folder: Path, tmp_path: Path
) -> None:
    done = train("--model", "yolo-nas-p", "-o", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path}/run/best.safetensors\n"
    (line,) = (text for text in done.stderr.splitlines() if text.startswith(NOTE))
    assert line in (tmp_path / "run" / "log.txt").read_text().splitlines()
    assert (
        "Started from yolo-nas-p: 100.0% of the weights and 1 classes taken."
        in (tmp_path / "run" / "report.html").read_text()
    )
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert (report["init"], report["weights_taken"], report["classes_known"]) == (
        *("yolo-nas-p", 1.0, 1),
    )
    made = json.loads(fork("info", done.stdout.strip(), "--json").stdout)["content"]
    assert made["licence"] == "Apache-2.0"
    assert made["weights_source"] == "detkit starter weights yolo-nas-p"
    assert made["parents"][0]["sha256"] == sha256_of(folder / "yolo-nas-p.safetensors")


def test_where_none_are_near_it_is_from_scratch_and_says_so_in_one_line(
    train: Callable[..., CompletedProcess[str]],
) -> None:
    done = train("--model", "yolo-nas-n", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines().count(SCRATCH) == 1
    done = train("--model", "yolo-nas-p", "--init", "none", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "starter" not in done.stderr


def test_a_name_without_starter_weights_is_refused_with_those_that_there_are(
    train: Callable[..., CompletedProcess[str]],
) -> None:
    done = train("--init", "yolo-nas-s", "--dry-run")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "error: there are no starter weights of 'yolo-nas-s'\nhint: there are those of yolo-nas-p\n"
    )
    done = train("--init", "yolo-nas-p", "--model", "yolov8-n", "--dry-run")
    assert (done.returncode, "another wiring" in done.stderr) == (2, True)


def test_a_licence_of_yours_stands_beside_theirs_without_a_warning(
    train: Callable[..., CompletedProcess[str]],
) -> None:
    flags = ("--model", "yolo-nas-p", "--licence", "proprietary", "--dry-run")
    done = train(*flags)
    assert "recorded: 'proprietary AND Apache-2.0'" in done.stderr
    assert train(*flags, "-q").stderr == ""
