"""What a resumed run must find again, and what may have changed."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from detkit.config import TrainConfig
from detkit.core.errors import ArtifactError, TrainingError, UsageError
from detkit.core.serialization import from_json, to_json
from detkit.nn.checkpoint import save_checkpoint
from detkit.train.run_inputs import (
    RunInputs,
    SplitInputs,
    check_inputs,
    check_settings,
    check_still_there,
    fixed_settings,
    inputs_of,
    paths_in,
    rounding_changes,
    with_paths,
)
from detkit.train.setup import build_setup

BEGAN = RunInputs(
    class_names=("a", "b"),
    splits={
        "train": SplitInputs(images=4, boxes=8, digest="t"),
        "val": SplitInputs(images=2, boxes=4, digest="v"),
    },
    arch="net",
    settings={"batch": 8, "optim.lr": 1e-3},
    files={"teacher": "aa", "weights it starts from": "bb"},
    rounding={"threads": "2", "torch": "2.13.0"},
)
OTHER_VAL = {**BEGAN.splits, "val": SplitInputs(images=2, boxes=4, digest="w")}


def test_the_same_inputs_go_on(tmp_path: Path) -> None:
    check_inputs(BEGAN, BEGAN, last=tmp_path / "last.safetensors")
    check_settings(BEGAN, BEGAN.settings, ())
    assert rounding_changes(BEGAN, BEGAN) == ""


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"class_names": ("b", "a")}, "the classes were a, b and are b, a"),
        ({"splits": OTHER_VAL}, "the data of 'val' was 2 images .* and is 2 images"),
        ({"arch": "other"}, "the architecture was net and is other"),
        ({"files": {**BEGAN.files, "teacher": "cc"}}, "the teacher changed"),
        ({"files": {"teacher": "aa"}}, "the weights it starts from changed"),
    ],
)
def test_other_inputs_are_named_with_a_way_on(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    last = tmp_path / "last.safetensors"
    now = dataclasses.replace(BEGAN, **changes)
    with pytest.raises(TrainingError, match=message) as caught:
        check_inputs(BEGAN, now, last=last)
    assert "--init" not in caught.value.hint
    last.touch()
    with pytest.raises(TrainingError) as caught:
        check_inputs(BEGAN, now, last=last)
    assert f"--init {last}" in caught.value.hint


def test_other_settings_are_named_with_both_values() -> None:
    now = {"batch": 4, "optim.lr": 1e-3}
    with pytest.raises(UsageError, match="cannot change batch, 8 when it began, to 4") as caught:
        check_settings(BEGAN, now, ("epochs",))
    assert "epochs" in caught.value.hint


def test_what_only_rounding_depends_on_is_told() -> None:
    now = dataclasses.replace(BEGAN, rounding={"threads": "1", "torch": "2.13.0"})
    assert rounding_changes(BEGAN, now).endswith(": threads 2 -> 1")


def test_settings_without_paths_and_what_may_change_are_fixed() -> None:
    fixed = fixed_settings(TrainConfig(data="x", model="net.json", teacher="t", batch=4))
    assert fixed["batch"] == 4
    assert fixed["optim.lr"] == 1e-3
    assert not {"data", "teacher", "model", "threads", "epochs"} & set(fixed)
    assert fixed_settings(TrainConfig(model="yolo-nas-n"))["model"] == "yolo-nas-n"


def test_paths_are_found_and_put_back_from_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = TrainConfig(data="coco", init="none", teacher="t.onnx")
    paths = paths_in(config, ("data", "init", "teacher", "val_json"), {"init": ("none",)})
    assert paths == {"data": tmp_path / "coco", "teacher": tmp_path / "t.onnx"}
    assert with_paths(config, paths) == dataclasses.replace(
        config, data=str(tmp_path / "coco"), teacher=str(tmp_path / "t.onnx")
    )
    with pytest.raises(ArtifactError, match="data of this run is not there any more") as caught:
        check_still_there(paths, "detkit train -o r --resume")
    assert caught.value.hint.endswith("detkit train -o r --resume --set data=PATH")


# --- of a setup ----------------------------------------------------------------------------------


def inputs(config: TrainConfig) -> RunInputs:
    return inputs_of(build_setup(config), config, torch.device("cpu"), fixed_settings(config))


def test_a_folder_that_moved_is_the_same_inputs_and_swapped_classes_are_not(
    config: TrainConfig, tmp_path: Path
) -> None:
    before = inputs(config)
    moved = Path(shutil.copytree(config.data, tmp_path / "moved"))
    config = dataclasses.replace(config, data=str(moved))
    assert inputs(config) == before
    for split in ("train", "val"):
        path = moved / "annotations" / f"instances_{split}.json"
        document = json.loads(path.read_text())
        first, last = document["categories"][0], document["categories"][-1]
        first["id"], last["id"] = last["id"], first["id"]
        path.write_text(json.dumps(document))
    with pytest.raises(TrainingError, match=r"the classes were .* and are .*; the data of 'train'"):
        check_inputs(before, inputs(config), last=tmp_path / "last.safetensors")


def test_the_first_weights_are_no_input_of_a_run_that_goes_on(
    config: TrainConfig, tmp_path: Path
) -> None:
    path = tmp_path / "first.safetensors"
    setup = build_setup(config)
    save_checkpoint(path, setup.model, setup.manifest(config, {}))
    config = dataclasses.replace(config, init=str(path), model="")
    before = inputs(config)
    path.unlink()
    lineage = from_json(RunInputs, to_json(before)).lineage
    assert lineage is not None
    assert lineage == before.lineage
    again = build_setup(config, lineage)
    assert again.parents == lineage.parents != ()
    now = inputs_of(again, config, torch.device("cpu"), fixed_settings(config))
    check_inputs(before, now, last=None)
