"""Files of YOLOX's trainer, written by a second implementation of it, become the same detector."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from detkit.artifact.artifact import read_manifest
from detkit.core.errors import ArtifactError
from detkit.importing.run import import_checkpoint
from detkit.importing.unpickle import read_checkpoint
from detkit.importing.yolox import fold_stem, parse_yolox
from detkit.nn.checkpoint import assign_strictly, load_checkpoint
from detkit.nn.decode import Predictor
from detkit.nn.detector import build_detector, fuse
from detkit.spec.zoo import ZOO
from fixtures.yolox import DEPTH_WIDTH, Published, image

EXACT = 1e-6  # in float64, of scores and of boxes in pixels
QUICK = ("nano", "tiny")  # every wiring once; the larger ones differ in counts alone


def settled(size: str, num_classes: int = 80) -> Published:
    with torch.no_grad():
        return Published(size, num_classes).settle(image(64, 96).flip(1))


@pytest.fixture(scope="module")
def published() -> Callable[[str], Published]:
    made: dict[str, Published] = {}

    def make(size: str) -> Published:
        if size not in made:
            made[size] = settled(size)
        return made[size]

    return make


@pytest.mark.parametrize("size", QUICK)
def test_boxes_and_scores_are_those_of_the_published_network(
    size: str, published: Callable[[str], Published]
) -> None:
    network = published(size)
    found = parse_yolox({"model": network.state, "start_epoch": 300, "optimizer": {}})
    model = build_detector(found.spec, "training")
    assign_strictly(model, found.tensors, where="here")
    rgb = image(64, 96)
    with torch.no_grad():
        wanted_boxes, wanted_scores = network(rgb.flip(1))
        (boxes,), (scores,) = Predictor(model.eval(), (64, 96)).double()(rgb / 255)
        fused, _ = Predictor(fuse(model).float(), (64, 96))(rgb.float() / 255)
    assert found.spec == ZOO[f"yolox-{size}"]
    assert float((scores - wanted_scores).abs().max()) <= EXACT
    assert float((boxes - wanted_boxes).abs().max()) <= EXACT
    assert torch.allclose(fused[0].double(), wanted_boxes, rtol=1e-2, atol=0.05)
    assert float(wanted_scores.max()) > 0.3
    assert 1 < float((wanted_boxes[:, 2:] - wanted_boxes[:, :2]).max()) < 1000


@pytest.mark.parametrize("size", DEPTH_WIDTH)
def test_each_published_size_is_recognised_by_its_shapes(size: str) -> None:
    network = Published(size, on="meta")
    network.forward(torch.empty(1, 3, 64, 64, device="meta"))
    found = parse_yolox(network.state)
    assert (found.spec, found.notes["weights"]) == (ZOO[f"yolox-{size}"], "state dict")
    assert (found.class_names[0], found.class_names[79]) == ("person", "toothbrush")


LAYOUTS: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "model": lambda state: {"start_epoch": 9, "model": state, "optimizer": {"lr": 0.1}},
    "ema": lambda state: {"ema": {f"module.{name}": t for name, t in state.items()}},
    "state dict": lambda state: state,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_of_a_file_gives_the_same_weights(
    layout: str, published: Callable[[str], Published], tmp_path: Path
) -> None:
    state = published("nano").state
    torch.save(LAYOUTS[layout](state), tmp_path / "nano.pth")
    found = parse_yolox(read_checkpoint(tmp_path / "nano.pth"))
    wanted = parse_yolox(state).tensors
    assert found.notes["weights"] == layout
    assert wanted.keys() == found.tensors.keys()
    assert all(torch.equal(wanted[name], found.tensors[name]) for name in wanted)


def test_the_letterbox_of_an_import_is_the_published_one(
    published: Callable[[str], Published], tmp_path: Path
) -> None:
    torch.save({"model": published("nano").state}, tmp_path / "nano.pth")
    report = import_checkpoint(tmp_path / "nano.pth", tmp_path / "nano.safetensors")
    manifest = read_manifest(tmp_path / "nano.safetensors")
    recipe = manifest.preprocess
    assert (recipe.size, recipe.fit, recipe.pad_value) == ((416, 416), (416, 416), 114)
    assert (recipe.pad_place, recipe.resize) == ("corner", "letterbox-floor")
    assert (manifest.parents[0].name, manifest.arch.name) == ("nano.pth", "yolox-nano")
    assert report.parameters == pytest.approx(0.91e6, rel=0.01)
    model, _ = load_checkpoint(tmp_path / "nano.safetensors")
    assert len(model.state_dict()) == len(published("nano").state)


def test_the_stem_is_exact() -> None:
    torch.manual_seed(0)
    kernel, bgr = torch.randn(5, 12, 3, 3).double(), torch.rand(1, 3, 8, 12).double() * 255
    phases = [bgr[..., i::2, j::2] for i, j in ((0, 0), (1, 0), (0, 1), (1, 1))]
    wanted = torch.nn.functional.conv2d(torch.cat(phases, 1), kernel, padding=1)
    rgb = bgr.flip(1) / 255
    found = torch.nn.functional.conv2d(rgb, fold_stem(kernel), stride=2, padding=2)
    assert torch.allclose(found, wanted)


def test_classes_of_a_fine_tuned_network_are_numbered() -> None:
    found = parse_yolox(settled("nano", 3).state)
    assert (found.spec.num_classes, found.class_names) == (3, ("class0", "class1", "class2"))


def test_another_network_is_refused(published: Callable[[str], Published]) -> None:
    state = dict(published("nano").state)
    del state["backbone.bu_conv1.dconv.conv.weight"]
    with pytest.raises(ArtifactError, match="are not those of yolox-nano, yolox-tiny") as caught:
        parse_yolox(state)
    assert "only unmodified architectures" in caught.value.hint
    with pytest.raises(ArtifactError, match="no YOLOX weights"):
        parse_yolox({"model": {"w": torch.ones(1)}})


def test_the_verb_prints_one_path(published: Callable[[str], Published], tmp_path: Path) -> None:
    torch.save({"model": published("nano").state}, tmp_path / "yolox_nano.pth")
    out = tmp_path / "n.safetensors"
    script = "import sys; from detkit.cli.app import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", script, "import", str(tmp_path / "yolox_nano.pth"), "-o", str(out)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, f"{out}\n"), done.stderr
    assert "0.91 M parameters" in done.stderr
