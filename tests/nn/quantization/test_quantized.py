"""Where quantizers sit, and that rounding is all that they do."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from detkit.core.errors import UsageError
from detkit.data.synthetic.synth import draw_images
from detkit.nn.checkpoint import load_checkpoint, save_checkpoint
from detkit.nn.detector import build_detector, fuse
from detkit.nn.quantization.fake_quant import Quantizer
from detkit.nn.quantization.quantized import (
    MOVING_MODULES,
    QuantizedDetector,
    float_twin,
    group_of,
    rounding_off,
)
from detkit.spec.arch import ACTIVATIONS, BLOCK_KINDS
from detkit.spec.quant import QuantSpec
from detkit.spec.zoo import ZOO

Outputs = tuple[Tensor, Tensor]
NETWORKS = [(name, ZOO[name].block, ZOO[name].activation) for name in ZOO] + [
    ("yolo-nas-p", block, activation)
    for block in BLOCK_KINDS
    for activation in ACTIVATIONS
    if (block, activation) != ("qarepvgg", "relu")
]


def on_meta(name: str, block: str = "", activation: str = "") -> QuantizedDetector:
    spec = ZOO[name]
    spec = dataclasses.replace(
        spec, block=block or spec.block, activation=activation or spec.activation
    )
    return QuantizedDetector(build_detector(spec, "deployed"), QuantSpec())


def quantizer_calls(model: QuantizedDetector) -> list[str]:
    return [
        str(node.target)
        for node in model._graph.nodes
        if node.op == "call_module" and isinstance(model.get_submodule(node.target), Quantizer)
    ]


def random_images(count: int = 3) -> Tensor:
    drawn = np.stack(draw_images(count, size=64))
    return torch.from_numpy(drawn).permute(0, 3, 1, 2).float() / 255


@torch.no_grad()
def run(model: nn.Module, images: Tensor) -> Outputs:
    out: Outputs = model(images)
    return out


def furthest(one: Outputs, other: Outputs) -> float:
    return max(float((a - b).abs().max()) for a, b in zip(one, other, strict=True))


@pytest.fixture
def deployed(settled: Callable[..., Path]) -> nn.Module:
    return fuse(load_checkpoint(settled())[0].eval())


@pytest.fixture
def model(int8_model: QuantizedDetector) -> QuantizedDetector:
    return int8_model


# --- the plan ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "block", "activation"), NETWORKS)
def test_every_convolution_but_the_predictors_may_be_int8(
    name: str, block: str, activation: str
) -> None:
    model = on_meta(name, block, activation)
    inside = {f"{path}.conv" for path, _ in model.convolutions()}
    others = [
        path
        for path, module in model.named_modules()
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)) and path not in inside
    ]
    kinds = ["cls_pred", "reg_pred", *(["obj_pred"] if name.startswith("yolox") else [])]
    assert sorted(others) == sorted(f"heads.head{i}.{k}" for i in (1, 2, 3) for k in kinds)
    for path, _ in model.convolutions():
        assert group_of(model, path) in model.plan.groups
    grouped = [path for paths in model.plan.groups.values() for path in paths]
    assert sorted(grouped) == sorted(path for path, _ in model.convolutions())


def test_yolo_nas_p_has_the_quantizers_that_counting_by_hand_gives() -> None:
    model = on_meta("yolo-nas-p")
    csp = 5  # conv1, conv2, conv3, and two of its bottleneck
    convolutions = 1 + 4 * (1 + csp) + 2 + 2 * (6 + csp) + 2 * (1 + csp) + 3 * 3
    assert len(list(model.convolutions())) == convolutions == 70
    tensors = 1 + convolutions + 8  # the input, and the sum of each of the 8 bottlenecks
    # Two paths of each CSP layer share a range, three of each up stage, two of each down stage.
    assert len(list(model.quantizers())) == tensors - 8 - 2 * 2 - 2 == 65
    assert len(quantizer_calls(model)) == tensors


# Of CSP layers or ELANs, of the neck, of the pooling; YOLOv7's pooling and stages 2 to 4 add one.
CONCATENATIONS = {"yolo-nas": 8 + 4 + 1, "yolov5": 8 + 4 + 1, "yolov7": 17, "yolov8": 8 + 4 + 1}
CONCATENATIONS["yolox"] = 8 + 4 + 1  # its Focus is one convolution here


@pytest.mark.parametrize("name", ZOO)
def test_concatenated_tensors_share_one_range(name: str) -> None:
    model = on_meta(name)
    graph = model._graph
    concatenations = 0
    for node in graph.nodes:
        if node.target is torch.cat:
            owners = [set(ranges_of(model, source)) for source in node.all_input_nodes]
            if any(owners):  # those of the heads' outputs have none
                assert all(owners), node
                assert len(set.union(*owners)) == 1, node
                concatenations += 1
    assert concatenations == CONCATENATIONS[ZOO[name].family]


def ranges_of(model: QuantizedDetector, node: torch.fx.Node) -> Iterator[str]:
    """Quantizers that a tensor comes from, through what moves values alone."""
    module = model.get_submodule(str(node.target)) if node.op == "call_module" else None
    if isinstance(module, Quantizer):
        yield str(node.target)
    elif isinstance(module, MOVING_MODULES) or node.target is nn.functional.pixel_shuffle:
        yield from ranges_of(model, node.all_input_nodes[0])


def test_the_input_has_a_quantizer_of_its_own() -> None:
    model = on_meta("yolo-nas-p")
    assert quantizer_calls(model)[0] == "quantizer"
    assert quantizer_calls(model).count("quantizer") == 1


def test_weights_keep_the_names_of_the_deployed_detector(
    deployed: nn.Module, model: QuantizedDetector
) -> None:
    ours, theirs = set(model.state_dict()), set(deployed.state_dict())
    added = {key for key in ours if ".quantizer." in f".{key}" or key.endswith("bias_shift")}
    renamed = {key.replace(".upsample.point.conv.", ".upsample.") for key in ours - added}
    assert renamed == theirs
    for key in theirs:
        if ".upsample." not in key:
            assert torch.equal(model.state_dict()[key], deployed.state_dict()[key])


# --- rounding ------------------------------------------------------------------------------------


def test_rounding_changes_the_outputs_a_little(
    deployed: nn.Module, model: QuantizedDetector
) -> None:
    exact, rounded = run(deployed, random_images()), run(model, random_images())
    error = (rounded[0] - exact[0]).square().mean().sqrt()
    assert 0 < error < 0.2 * exact[0].std()


def test_with_rounding_off_it_is_the_float_network(
    deployed: nn.Module, model: QuantizedDetector
) -> None:
    before = run(model, random_images())
    with rounding_off(model):
        assert furthest(run(model, random_images()), run(deployed, random_images())) <= 1e-5
    assert furthest(run(model, random_images()), before) == 0


def test_rounding_comes_back_after_an_error(model: QuantizedDetector) -> None:
    before = run(model, random_images(1))
    with pytest.raises(KeyError), rounding_off(model):
        raise KeyError
    assert furthest(run(model, random_images(1)), before) == 0


def test_rounding_off_leaves_groups_in_float_as_they_were(model: QuantizedDetector) -> None:
    model.keep_in_float(["backbone.stem"])
    before = run(model, random_images(1))
    with rounding_off(model):
        pass
    assert furthest(run(model, random_images(1)), before) == 0


def test_float_twin_rounds_nothing_and_leaves_the_model_as_it_is(
    deployed: nn.Module, model: QuantizedDetector
) -> None:
    before = run(model, random_images())
    assert furthest(run(float_twin(model), random_images()), run(deployed, random_images())) <= 1e-5
    assert furthest(run(model, random_images()), before) == 0


def test_all_groups_in_float_give_the_float_network(
    deployed: nn.Module, model: QuantizedDetector
) -> None:
    model.keep_in_float(model.plan.groups)
    assert quantizer_calls(model) == []
    assert furthest(run(model, random_images()), run(deployed, random_images())) <= 1e-5
    model.keep_in_float(())
    assert len(quantizer_calls(model)) == 79


def test_a_copy_is_independent(model: QuantizedDetector) -> None:
    images = random_images(1)
    before, copied = run(model, images), copy.deepcopy(model)
    for _, quantizer in copied.quantizers():
        quantizer.set_range(-0.1, 0.1)
    copied.keep_in_float(["backbone.stem"])
    assert furthest(run(model, images), before) == 0
    assert model.quant.float_groups == ()
    assert furthest(run(copied, images), before) > 0
    assert {id(p) for p in copied.parameters()}.isdisjoint(id(p) for p in model.parameters())


def test_a_image_depends_on_its_batch_by_far_less_than_the_noise_of_int8(
    deployed: nn.Module, model: QuantizedDetector
) -> None:
    """Sums of a convolution end in other bits with another batch, and some round the other way."""
    images = random_images(5)
    together, exact = run(model, images)[0], run(deployed, images)[0]
    alone = torch.cat([run(model, image[None])[0] for image in images])
    off, noise = (x.square().mean().sqrt() for x in (alone - together, exact - together))
    assert off < 0.5 * noise


# --- groups --------------------------------------------------------------------------------------


def test_a_tensor_is_rounded_as_long_as_one_neighbour_is_int8(model: QuantizedDetector) -> None:
    made = "backbone.stage1.downsample.quantizer"  # taken by conv1 and conv2 of the CSP layer
    for kept, rounded in (
        (["backbone.stage1"], True),
        (["backbone.stage1.blocks"], True),
        (["backbone.stage1", "backbone.stage1.blocks"], False),
    ):
        model.keep_in_float(kept)
        assert (made in quantizer_calls(model)) == rounded, kept


def test_the_input_is_not_rounded_for_a_stem_in_float(model: QuantizedDetector) -> None:
    model.keep_in_float(["backbone.stem"])
    assert "quantizer" not in quantizer_calls(model)
    assert "backbone.stem.conv.quantizer" in quantizer_calls(model)


def test_a_group_in_float_has_no_rounded_weights_and_the_others_have(
    model: QuantizedDetector,
) -> None:
    model.keep_in_float(["neck.neck1.blocks"])
    for path, conv in model.convolutions():
        assert conv.in_float == path.startswith("neck.neck1.blocks.")
    assert model.quant.float_groups == ("neck.neck1.blocks",)


def test_unknown_group_suggests_the_near_one(model: QuantizedDetector) -> None:
    with pytest.raises(UsageError, match=r"no group 'neck\.neck1\.block'") as caught:
        model.keep_in_float(["neck.neck1.block"])
    assert "neck.neck1.blocks" in caught.value.hint


def test_a_refused_group_changes_nothing(model: QuantizedDetector) -> None:
    model.keep_in_float(["backbone.stem"])
    with pytest.raises(UsageError):
        model.keep_in_float(["neck.neck1", "nowhere"])
    assert model.quant.float_groups == ("backbone.stem",)


# --- on disk -------------------------------------------------------------------------------------


def test_a_checkpoint_gives_the_same_bits(
    int8: Callable[..., Path], model: QuantizedDetector, tmp_path: Path
) -> None:
    manifest = load_checkpoint(int8())[1]
    save_checkpoint(tmp_path / "m.safetensors", model, manifest)
    loaded, again = load_checkpoint(tmp_path / "m.safetensors")
    assert isinstance(loaded, QuantizedDetector)
    assert again.quant == loaded.quant == model.quant
    ours, theirs = model.state_dict(), loaded.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert furthest(run(loaded.eval(), random_images()), run(model, random_images())) == 0


def test_groups_in_float_are_loaded_too(
    int8: Callable[..., Path], model: QuantizedDetector, tmp_path: Path
) -> None:
    manifest = load_checkpoint(int8())[1]
    model.keep_in_float(["backbone.stem", "heads.head2"])
    path = tmp_path / "m.safetensors"
    save_checkpoint(path, model, dataclasses.replace(manifest, quant=model.quant))
    loaded = load_checkpoint(path)[0].eval()
    assert isinstance(loaded, QuantizedDetector)
    assert loaded.quant.float_groups == ("backbone.stem", "heads.head2")
    assert furthest(run(loaded, random_images()), run(model, random_images())) == 0
