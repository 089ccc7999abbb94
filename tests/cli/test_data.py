"""`detkit data ...` as a script sees it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Detkit = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def shapes(detkit: Detkit, tmp_path: Path) -> Path:
    out = tmp_path / "shapes"
    done = detkit(*f"data synth -o {out} --train 3 --val 1 --test 0 --size 48 --classes 2".split())
    assert (done.returncode, done.stdout) == (0, f"{out}\n")
    return out


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {"XDG_CACHE_HOME": str(tmp_path / "cache")}


def damage(root: Path) -> None:
    image = root / "images" / "train" / "000001.jpg"
    image.write_bytes(image.read_bytes()[:400])


def edit(root: Path, old: str, new: str) -> None:
    path = root / "annotations" / "instances_train.json"
    path.write_text(path.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")


def test_check_of_a_clean_folder_exits_0(detkit: Detkit, shapes: Path, env: dict[str, str]) -> None:
    done = detkit("data", "check", str(shapes), env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("no faults\n")
    assert "train       3" in done.stdout
    assert "images: 4 in all, 4 used, 0 left out" in done.stdout
    assert "ring" in done.stdout
    assert "triangle" not in done.stdout  # of two classes


def test_check_prints_one_json_object(detkit: Detkit, shapes: Path, env: dict[str, str]) -> None:
    damage(shapes)
    done = detkit("data", "check", str(shapes), "--json", env=env)
    report = json.loads(done.stdout)
    assert done.returncode == 1
    assert report["clean"] is False
    assert report["counts"]["image cannot be decoded"] == 1
    assert report["faults"][0]["file"] == "images/train/000001.jpg"
    assert report["splits"][0]["dropped_images"] == 1
    assert "1 images and " in done.stderr


def test_check_names_file_and_reason(detkit: Detkit, shapes: Path, env: dict[str, str]) -> None:
    damage(shapes)
    done = detkit("data", "check", str(shapes), env=env)
    assert done.returncode == 1
    assert "dropped: image cannot be decoded: 1\n  images/train/000001.jpg: " in done.stdout
    assert done.stderr.startswith("error: ")


def test_check_exits_0_for_what_was_fixed_unless_strict(
    detkit: Detkit, shapes: Path, env: dict[str, str]
) -> None:
    edit(shapes, '"iscrowd":0', '"other":0')
    assert detkit("data", "check", str(shapes), env=env).returncode == 0
    done = detkit("data", "check", str(shapes), "--strict", env=env)
    assert done.returncode == 1
    assert "fixed: annotation without iscrowd: filled: 1" in done.stdout


def test_check_of_an_unusable_folder_still_lists(
    detkit: Detkit, shapes: Path, env: dict[str, str]
) -> None:
    edit(shapes, '"file_name":"train/', '"file_name":"../\\u001b[31m')
    done = detkit("data", "check", str(shapes), env=env)
    assert done.returncode == 1
    assert "rejected: file name leads out of the folder: 1" in done.stdout
    assert "cannot be used" in done.stderr
    assert "\x1b" not in done.stdout + done.stderr


def test_check_warns_of_what_is_suspicious(
    detkit: Detkit, shapes: Path, env: dict[str, str]
) -> None:
    path = shapes / "annotations" / "instances_train.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"iscrowd":0', '"iscrowd":"1"'))
    line = ("data", "check", str(shapes))
    done = detkit(*line, env=env)
    assert done.returncode == 0
    assert "warning: train: " in done.stderr
    assert f"detkit data convert {shapes} --from coco --no-crowd -o NEW" in done.stderr
    assert detkit(*line, "--strict", env=env).returncode == 1


def test_check_takes_an_annotation_file_alone(
    detkit: Detkit, shapes: Path, env: dict[str, str]
) -> None:
    path = shapes / "annotations" / "instances_val.json"
    lone = path.rename(shapes / "result.json")
    for more in ((), ("--images", str(shapes / "images"))):
        done = detkit("data", "check", str(lone), *more, env=env)
        assert (done.returncode, done.stderr) == (0, "")
        assert "images: 1 in all, 1 used, 0 left out" in done.stdout


def test_check_of_nothing_says_what_is_expected(detkit: Detkit, tmp_path: Path) -> None:
    done = detkit("data", "check", str(tmp_path / "nowhere"))
    assert (done.returncode, done.stdout) == (1, "")
    assert "error: no such folder" in done.stderr
    assert "hint: expected images/" in done.stderr


def test_convert_prints_the_folder_it_made(
    detkit: Detkit, shapes: Path, env: dict[str, str], tmp_path: Path
) -> None:
    (shapes / "labels" / "train").mkdir(parents=True)
    (shapes / "labels" / "train" / "000001.txt").write_text("0 0.5 0.5 0.5 0.5\n7 0 0 1 1\n")
    (shapes / "classes.txt").write_text("thing\n")
    out = tmp_path / "coco"
    line = ("data", "convert", str(shapes), "--from", "yolo", "-o", str(out))
    refused = detkit(*line, env=env)
    assert (refused.returncode, refused.stdout, out.exists()) == (1, "", False)
    assert "boxes: 2 in all, 1 used, 1 left out" in refused.stderr
    assert "hint: --max-dropped 0.5 converts the rest" in refused.stderr
    done = detkit(*line, "--max-dropped", "0.5", env=env)
    assert (done.returncode, done.stdout) == (0, f"{out}\n")
    assert "warning: 0 images and 1 boxes left out" in done.stderr
    assert detkit("data", "check", str(out), env=env).returncode == 0
    again = detkit(*line, env=env)
    assert again.returncode == 2
    assert "--force" in again.stderr


@pytest.mark.parametrize("args", ["synth", "synth -o x --size 8", "convert x --from csv -o y"])
def test_wrong_flags_exit_2(detkit: Detkit, args: str) -> None:
    assert detkit("data", *args.split()).returncode == 2
