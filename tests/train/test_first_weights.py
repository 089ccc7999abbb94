"""What a run begins with, by the setting `init`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

import detkit.starter
from detkit.artifact.artifact import Manifest, read_manifest, sha256_of
from detkit.config import TrainConfig, resolve
from detkit.core.errors import UsageError
from detkit.core.serialization import to_json
from detkit.nn.checkpoint import load_checkpoint, new_detector, save_checkpoint
from detkit.spec.preprocess import Preprocess
from detkit.spec.zoo import ZOO, with_task
from detkit.train.first_weights import FirstWeights, first_weights
from detkit.train.run import TrainRequest, find_run_folder, resolve_config, run_training
from detkit.train.stop import StopSignal

NAMES = ("circle", "cat")


@pytest.fixture
def starters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with starter weights of yolo-nas-p, which know `NAMES`."""
    folder = tmp_path / "starters"
    monkeypatch.setattr(detkit.starter, "FOLDER", folder)
    spec = with_task(ZOO["yolo-nas-p"], 2, (96, 96))
    manifest = Manifest(
        kind="checkpoint",
        arch=spec,
        class_names=NAMES,
        preprocess=Preprocess.filling((96, 96)),
        licence="Apache-2.0",
        weights_source="detkit starter weights",
        weights_dtype="float16",
    )
    save_checkpoint(folder / "yolo-nas-p.safetensors", new_detector(spec, 7), manifest)
    return folder


def begin(
    config: TrainConfig, names: tuple[str, ...] = ("cat", "dog"), **more: str
) -> FirstWeights:
    return first_weights(dataclasses.replace(config, **more), names)  # type: ignore[arg-type]


def test_auto_takes_the_starter_weights_of_the_architecture_and_says_so(
    starters: Path, config: TrainConfig
) -> None:
    found = begin(config, init="auto")
    path = starters / "yolo-nas-p.safetensors"
    assert (found.lineage.init, found.lineage.weights_taken, found.lineage.classes_known) == (
        "yolo-nas-p",
        1.0,
        1,
    )
    assert found.lineage.parents[0].sha256 == sha256_of(path)
    assert (found.lineage.origin.licence, found.lineage.origin.source) == (
        "Apache-2.0",
        "detkit starter weights",
    )
    assert found.notes == (
        "starts from the starter weights yolo-nas-p (Apache-2.0): 100 % of the weights, 1 of 2"
        " classes new",
    )
    assert found.model.spec.image_size == (64, 64)  # of the run, not of the starter
    name = "backbone.stage1.downsample.branch_3x3.conv.weight"
    kernel = found.model.get_parameter(name)
    assert kernel.dtype == torch.float32
    assert torch.equal(kernel, load_checkpoint(path)[0].get_parameter(name))


def test_none_is_from_scratch_and_draws_the_same_weights_as_ever(
    starters: Path, config: TrainConfig
) -> None:
    for init in ("none", ""):  # the latter in settings written before there were starter weights
        found = begin(config, init=init)
        assert (found.lineage.init, found.lineage.parents, found.notes) == ("none", (), ())
        assert (found.lineage.origin.licence, found.lineage.origin.source) == (
            "",
            "trained from scratch",
        )
        fresh = new_detector(found.model.spec, config.seed).state_dict()
        assert all(torch.equal(t, fresh[n]) for n, t in found.model.state_dict().items())
    assert begin(config, init="none", licence="MIT").lineage.origin.licence == "MIT"


def test_auto_is_from_scratch_where_nothing_is_near_and_says_so(
    starters: Path, config: TrainConfig
) -> None:
    found = begin(config, init="auto", model="yolo-nas-n")
    assert found.lineage.init == "none"
    assert found.notes == ("from scratch: no starter weights for yolo-nas-n",)
    (starters / "yolo-nas-p.safetensors").unlink()
    assert begin(config, init="auto").lineage.init == "none"


def test_auto_takes_a_near_architecture_s_and_says_the_share(
    starters: Path, config: TrainConfig, tmp_path: Path
) -> None:
    spec = dataclasses.replace(ZOO["yolo-nas-p"], name="mine", stem=24)
    (tmp_path / "mine.json").write_text(to_json(spec))
    found = begin(config, init="auto", model=str(tmp_path / "mine.json"))
    assert found.lineage.init == "yolo-nas-p"
    assert 0.9 < found.lineage.weights_taken < 1
    assert "(Apache-2.0), the channels that both have: 99." in found.notes[0]
    assert found.model.spec.stem == 24


def test_a_name_takes_those_starter_weights_or_refuses(starters: Path, config: TrainConfig) -> None:
    found = begin(config, init="yolo-nas-p", model="", imgsz="")
    assert found.model.spec == with_task(ZOO["yolo-nas-p"], 2, (640, 640))
    with pytest.raises(UsageError, match="no starter weights of 'yolo-nas-s'") as raised:
        begin(config, init="yolo-nas-s", model="")
    assert raised.value.hint == "there are those of yolo-nas-p"
    with pytest.raises(UsageError, match="are not for yolov8-n: another wiring"):
        begin(config, init="yolo-nas-p", model="yolov8-n")


def test_settings_of_a_run_name_what_auto_found_so_that_a_rerun_starts_the_same(
    starters: Path, config: TrainConfig, tmp_path: Path
) -> None:
    config = dataclasses.replace(config, init="auto", epochs=1)
    told: list[str] = []

    def train(settings: TrainConfig, out: Path, *, resume: bool = False) -> None:
        run_training(
            settings,
            out,
            TrainRequest(flags={}, resume=resume),
            dry_run=False,
            log=told.append,
            on_progress=lambda _: None,
            stop=StopSignal(),
        )

    out = tmp_path / "run"
    train(config, out)
    assert resolve(TrainConfig, file=out / "config.toml").init == "yolo-nas-p"
    report = json.loads((out / "report.json").read_text())
    assert (report["init"], report["weights_taken"]) == ("yolo-nas-p", 1.0)
    assert report["licence"] == "Apache-2.0"
    note = next(line for line in told if line.startswith("starts from the starter weights"))
    assert note in (out / "log.txt").read_text().splitlines()
    assert "Started from yolo-nas-p" in (out / "report.html").read_text()
    made = read_manifest(out / "best.safetensors")
    assert (made.licence, made.weights_dtype) == ("Apache-2.0", "float32")
    resumed = resolve_config(TrainRequest(flags={"epochs": 2}, resume=True), out)
    train(resumed, out, resume=True)
    last = read_manifest(out / "last.safetensors")
    assert (last.parents, last.licence) == (made.parents, "Apache-2.0")
    assert last.metrics["epoch"] == 2


def test_words_of_init_are_no_paths(tmp_path: Path, config: TrainConfig) -> None:
    def resolved(init: str) -> str:
        request = TrainRequest(flags={"data": config.data, "init": init})
        return resolve_config(request, None).init

    assert [resolved(word) for word in ("auto", "none", "yolo-nas-n")] == [
        "auto",
        "none",
        "yolo-nas-n",
    ]
    assert resolved("sub/none") == str(Path("sub/none").resolve())
    for init, name in (("auto", "yolo-nas-s"), ("yolo-nas-p", "yolo-nas-p"), ("a/b.x", "b")):
        settings = dataclasses.replace(config, data="coco", model="", init=init)
        assert find_run_folder(None, settings) == Path("runs") / f"coco-{name}"


@pytest.mark.parametrize("licence", ["two\nlines", "\x1b[31m", "x" * 201])
def test_a_licence_is_one_printable_line(config: TrainConfig, licence: str) -> None:
    with pytest.raises(UsageError, match="one printable line"):
        dataclasses.replace(config, licence=licence)


def test_a_yolox_gives_all_but_its_predictors_to_a_network_with_our_head(
    config: TrainConfig, tmp_path: Path
) -> None:
    spec = with_task(ZOO["yolox-nano"], 2, (64, 64))
    parent = new_detector(spec, 7)
    manifest = Manifest(
        kind="checkpoint",
        arch=spec,
        class_names=("cat", "dog"),
        preprocess=Preprocess.filling((64, 64)),
        licence="Apache-2.0",
        weights_source="a YOLOX checkpoint",
    )
    path = tmp_path / "nano.safetensors"
    save_checkpoint(path, parent, manifest)
    asked = dataclasses.replace(config, model="yolox-nano", imgsz="64")
    found = begin(asked, init=str(path))
    assert (found.model.spec.name, found.model.spec.family) == ("yolox-nano-dfl", "yolox-dfl")
    assert (found.lineage.origin.licence, found.lineage.classes_known) == ("Apache-2.0", 0)
    assert "trained with detkit's head, as yolox-nano-dfl" in found.notes[0]
    given, fresh = parent.state_dict(), begin(asked, init="none").model.state_dict()
    for name, tensor in found.model.state_dict().items():
        source = fresh if "_pred." in name else given
        assert torch.equal(tensor, source[name]), name
    trained = tmp_path / "trained.safetensors"
    save_checkpoint(trained, found.model, dataclasses.replace(manifest, arch=found.model.spec))
    again = begin(asked, init=str(trained))
    assert (again.lineage.weights_taken, again.lineage.classes_known) == (1.0, 2)
