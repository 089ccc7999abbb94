"""What a run starts from."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest
import torch

from detkit.config import TrainConfig
from detkit.core.errors import ArtifactError, BackendError, DataError, UsageError
from detkit.nn.checkpoint import new_detector, save_checkpoint
from detkit.nn.detector import Detector, fuse
from detkit.spec.class_scope import ClassScope
from detkit.spec.zoo import ZOO
from detkit.train.setup import build_setup, freeze


def test_init_brings_architecture_and_lineage(config: TrainConfig, tmp_path: Path) -> None:
    first = build_setup(config)
    path = tmp_path / "first.safetensors"
    save_checkpoint(path, first.model, first.manifest(config, {}))
    again = build_setup(dataclasses.replace(config, model="", imgsz="96", init=str(path)))
    assert again.model.spec.name == "yolo-nas-p"
    assert again.model.spec.image_size == (96, 96)
    assert again.parents[0].name == "first.safetensors"
    names = len(first.train.class_names)
    assert again.notes == (f"weights of first.safetensors; {names} of {names} classes known to it",)
    same = zip(first.model.parameters(), again.model.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in same)


def test_init_of_another_network_or_a_fused_one_is_refused(
    config: TrainConfig, tmp_path: Path
) -> None:
    setup = build_setup(config)
    path = tmp_path / "m.safetensors"
    save_checkpoint(path, setup.model, setup.manifest(config, {}))
    with pytest.raises(UsageError, match="is not the network of"):
        build_setup(dataclasses.replace(config, model="yolo-nas-n", init=str(path)))
    fused = dataclasses.replace(setup.manifest(config, {}), form="deployed")
    save_checkpoint(path, fuse(setup.model), fused)
    with pytest.raises(ArtifactError, match="fused and cannot be trained"):
        build_setup(dataclasses.replace(config, model="", init=str(path)))


def test_an_architecture_file_trains(config: TrainConfig, tmp_path: Path) -> None:
    from detkit.core.serialization import to_json

    spec = dataclasses.replace(ZOO["yolo-nas-p"], name="mine", stem=24, block="repvgg")
    (tmp_path / "mine.json").write_text(to_json(spec))
    setup = build_setup(dataclasses.replace(config, model=str(tmp_path / "mine.json")))
    assert setup.model.spec.name == "mine"
    stem = setup.model.get_submodule("backbone.stem.conv.branch_3x3.conv")
    assert isinstance(stem, torch.nn.Conv2d)
    assert stem.out_channels == 24


def test_frozen_parts_do_not_learn() -> None:
    model = new_detector(ZOO["yolo-nas-p"], 0)
    freeze(model, "backbone+neck")
    learning = {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad}
    assert learning == {"heads"}


@pytest.mark.parametrize("name", ZOO)
def test_early_parts_are_those_of_every_family_up_to_stride_8(name: str) -> None:
    with torch.device("meta"):
        model = Detector(ZOO[name])
    freeze(model, "early")
    frozen = {n.split(".")[1] for n, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {"stem", "stage1", "stage2"}
    maps = model.backbone(torch.empty(1, 3, 64, 64, device="meta"))
    assert maps[1].shape[-1] == 8


def test_a_folder_without_validation_is_refused(config: TrainConfig, tmp_path: Path) -> None:
    from detkit.data.synthetic.synth import synthesize

    synthesize(tmp_path / "one", images={"train": 2}, size=64, seed=0)
    with pytest.raises(DataError, match="val"):
        build_setup(dataclasses.replace(config, data=str(tmp_path / "one")))


def test_a_device_that_is_not_here_is_refused_before_anything_is_made(config: TrainConfig) -> None:
    with pytest.raises(BackendError, match="there is no device '0'"):
        build_setup(dataclasses.replace(config, device="0"))


def test_more_than_a_little_loss_of_data_is_refused_unless_allowed(
    config: TrainConfig, tmp_path: Path
) -> None:
    folder = tmp_path / "coco"
    shutil.copytree(config.data, folder)
    broken = sorted((folder / "images" / "train").iterdir())[0]
    broken.write_bytes(broken.read_bytes()[:200])
    damaged = dataclasses.replace(config, data=str(folder))
    with pytest.raises(DataError, match="1 of 16 images of 'train' cannot be used") as raised:
        build_setup(damaged)
    assert "max_dropped" in raised.value.hint
    setup = build_setup(dataclasses.replace(damaged, max_dropped=0.5))
    assert len(setup.train.records) == 15
    assert setup.folder.report.splits[0].dropped_images == 1


def test_a_part_of_the_data_is_what_a_run_is_about(config: TrainConfig) -> None:
    whole = build_setup(config)
    first, second = whole.train.class_names[:2]
    part = build_setup(dataclasses.replace(config, classes=f"{second},{first}", fraction=0.5))
    assert part.train.class_names == part.val.class_names == (first, second)
    assert part.model.spec.num_classes == 2
    assert (len(part.train.records), len(part.val.records)) == (8, len(whole.val.records))
    assert part.folder.report.splits[0].images == 8
    assert part.notes[0].startswith("train: taken are 2 of 6 classes, 8 of 16 images, ")
    manifest = part.manifest(config, {}, (0.1, 0.2))
    assert (manifest.class_scope.kind, manifest.score_thresholds) == ("some", (0.1, 0.2))
    one = build_setup(dataclasses.replace(config, single_cls=True, classes=second))
    assert one.manifest(config, {}).class_names == ("object",)
    assert one.manifest(config, {}).class_scope == ClassScope(kind="one", names=(second,))
    boxes = [len(record.classes) for record in one.val.records]
    assert boxes == [int((record.classes == 1).sum()) for record in whole.val.records]
