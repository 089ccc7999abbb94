"""The whole network: counts as published, fusing, and every point of the ArchSpec."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest
import torch
from torch import nn

from detkit.nn.blocks import FusedConv
from detkit.nn.checkpoint import new_detector
from detkit.nn.decode import Predictor
from detkit.nn.detector import Detector, build_detector, cost_of, fuse
from detkit.spec.arch import ACTIVATIONS, BLOCK_KINDS
from detkit.spec.zoo import ZOO

# super-gradients 3.7.1 at 640x640: deployed parameters, deployed and unfused GMACs, trained
# parameters without the unused kernels
PUBLISHED = {
    "yolo-nas-s": (12_175_888, 15.90, 16.94, 12_878_304),
    "yolo-nas-m": (31_906_578, 43.88, 47.09, 33_861_346),
    "yolo-nas-l": (41_999_192, 59.92, 64.49, 44_529_448),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_costs_are_those_published(name: str) -> None:
    deployed, training = cost_of(ZOO[name]), cost_of(ZOO[name], "training")
    parameters, gmacs, unfused_gmacs, trained = PUBLISHED[name]
    assert (deployed.parameters, training.parameters) == (parameters, trained)
    assert round(deployed.macs / 1e9, 2) == gmacs
    assert round(training.macs / 1e9, 2) == unfused_gmacs
    assert deployed.flops == 2 * deployed.macs


def test_small_members_keep_their_budgets() -> None:
    nano, pico = cost_of(ZOO["yolo-nas-n"]), cost_of(ZOO["yolo-nas-p"])
    assert nano.parameters <= 3.2e6
    assert nano.macs <= 4.4e9
    assert pico.parameters <= 1e6


@pytest.mark.parametrize("block", BLOCK_KINDS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_kind_of_network_fuses_to_itself(block: str, activation: str) -> None:
    spec = dataclasses.replace(
        ZOO["yolo-nas-p"],
        block=block,
        activation=activation,
        num_classes=2,
        image_size=(64, 96),
        stages=tuple(dataclasses.replace(s, concat=True) for s in ZOO["yolo-nas-p"].stages),
    )
    model = new_detector(spec, 0)
    images = torch.rand(2, 3, 64, 96)
    model.train()(images)  # moves the statistics away from 0 and 1
    model.eval()
    before, after = Predictor(model, (64, 96)), Predictor(fuse(model), (64, 96))
    with torch.no_grad():
        for a, b in zip(before(images), after(images), strict=True):
            assert torch.allclose(a, b, atol=1e-3)


def test_fusing_leaves_the_model_alone_and_only_plain_convolutions(tiny: Detector) -> None:
    before = {name: tensor.clone() for name, tensor in tiny.state_dict().items()}
    fused = fuse(tiny)
    assert all(torch.equal(before[name], t) for name, t in tiny.state_dict().items())
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in fused.modules())
    assert any(isinstance(layer, FusedConv) for layer in fused.modules())


def test_outputs_have_the_contract_shapes(tiny: Detector) -> None:
    with torch.no_grad():
        boxes, scores = Predictor(tiny, (64, 64))(torch.rand(2, 3, 64, 64))
    assert boxes.shape == (2, tiny.spec.num_anchors, 4)
    assert scores.shape == (2, 84, 3)
    assert 0 <= scores.min() <= scores.max() <= 1


def test_equal_seeds_give_equal_weights() -> None:
    spec = ZOO["yolo-nas-p"]
    one, two, other = (new_detector(spec, seed).state_dict() for seed in (5, 5, 6))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["heads.head1.reg_pred.weight"], other["heads.head1.reg_pred.weight"])


def test_an_untrained_network_is_unsure() -> None:
    model = new_detector(ZOO["yolo-nas-p"], 0).eval()
    with torch.no_grad():
        _, scores = Predictor(model, (64, 64))(torch.rand(1, 3, 64, 64))
    assert scores.max() < 0.1


def test_published_state_dict_keys_without_placeholders() -> None:
    keys = build_detector(ZOO["yolo-nas-s"], "training").state_dict().keys()
    assert len(keys) == 921 - 74
    assert "backbone.stage3.blocks.bottlenecks.4.cv2.branch_1x1.bias" in keys


def test_networks_without_weights_do_not_import_the_compiler() -> None:
    """Torch's meta device imports it for arithmetic, which takes seconds."""
    code = """
import sys
from detkit.nn.detector import build_detector, cost_metrics
from detkit.spec.zoo import ZOO

for spec in ZOO["yolo-nas-p"], ZOO["yolox-nano"]:
    build_detector(spec, "deployed"), cost_metrics(spec)
print(*{"torch._dynamo", "sympy"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "\n"), done.stderr
