"""The field's models: counts as published, and one contract for all."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
import torch
from torch import Tensor, nn

from detkit.engines import measuring_engines
from detkit.engines.coverage import coverage
from detkit.nn.backbone import Stem
from detkit.nn.blocks import SPP, SPPF, QuantGroup
from detkit.nn.checkpoint import new_detector
from detkit.nn.decode import Predictor
from detkit.nn.detector import Cost, Detector, build_detector, cost_of, fuse
from detkit.nn.families import FAMILIES
from detkit.nn.quantization.quantized import QuantizedDetector
from detkit.spec.arch import FAMILIES as FAMILY_NAMES
from detkit.spec.arch import STRIDES, ArchSpec, NeckSpec, StageSpec, trainable
from detkit.spec.quant import QuantSpec
from detkit.spec.zoo import ZOO
from detkit.untrained import write_untrained_model

# M parameters and GFLOPs (twice the multiply-adds) at 640x640, 80 classes. YOLOv7's are of its
# training form; of YOLOv8 the parameters are those with batch-norms and the FLOPs those of the
# convolutions alone, which is what `cost_of` counts.
PUBLISHED = {
    "yolov5-s": (7.23, 16.5),
    "yolov5-m": (21.19, 48.9),
    "yolov5-l": (46.56, 109.0),
    "yolov7": (37.62, 105.8),
    "yolov7-x": (71.34, 189.7),
    "yolov8-n": (3.16, 8.74),
    "yolov8-s": (11.17, 28.6),
    "yolov8-m": (25.90, 78.9),
    "yolov8-l": (43.69, 165.2),
}
# The same of YOLOX, at its sizes; FLOPs with those of batch-norms, two for each value.
PUBLISHED_YOLOX = {
    "yolox-nano": (0.91, 1.08),
    "yolox-tiny": (5.06, 6.45),
    "yolox-s": (9.0, 26.8),
    "yolox-m": (25.3, 73.8),
    "yolox-l": (54.2, 155.6),
    "yolox-x": (99.1, 281.9),
}
ANCHOR_CHANNELS = 3 * (80 + 5)  # that YOLOv5 and YOLOv7 predict at each cell
NARROWED = ("yolov5-l", "yolov7", "yolov7-x", "yolov8-n", "yolox-nano", "yolox-l")  # every wiring


AnyStage = TypeVar("AnyStage", StageSpec, NeckSpec)


def narrow(spec: ArchSpec) -> ArchSpec:
    """The same wiring with an eighth of the channels, short, on small images of 3 classes."""
    return dataclasses.replace(
        spec,
        stem=spec.stem // 8,
        stages=tuple(map(narrow_stage, spec.stages)),
        neck=tuple(map(narrow_stage, spec.neck)),
        head_widths=tuple(width // 8 for width in spec.head_widths),
        num_classes=3,
        image_size=(64, 96),
    )


def narrow_stage(stage: AnyStage) -> AnyStage:
    return dataclasses.replace(stage, out=stage.out // 8, hidden=stage.hidden // 8, blocks=1)


@pytest.fixture
def make() -> Callable[[str], Detector]:
    def detector(name: str) -> Detector:
        model = new_detector(narrow(ZOO[name]), 0)
        model.train()(torch.rand(2, 3, 64, 96))  # moves the statistics away from 0 and 1
        return model.eval()

    return detector


def with_anchors(cost: Cost, spec: ArchSpec) -> Cost:
    """Had the predictors of each cell as many channels as those of anchors."""
    widths = spec.head_widths or [stage.out for stage in spec.neck[1:]]
    more = ANCHOR_CHANNELS - spec.num_classes - 4 * (spec.reg_max + 1)
    height, width = spec.image_size
    cells = [height // stride * (width // stride) for stride in STRIDES]
    macs = sum(more * c * n for c, n in zip(widths, cells, strict=True))
    parameters = sum(more * (channels + 1) for channels in widths)
    return Cost(parameters=cost.parameters + parameters, macs=cost.macs + macs)


@pytest.mark.parametrize("name", PUBLISHED)
def test_costs_are_those_published_but_for_the_predictors(name: str) -> None:
    spec, (m_parameters, gflops) = ZOO[name], PUBLISHED[name]
    cost = cost_of(spec, "training")
    if spec.family in ("yolov5", "yolov7"):
        cost = with_anchors(cost, spec)
    assert cost.parameters / 1e6 == pytest.approx(m_parameters, rel=0.002)
    assert cost.flops / 1e9 == pytest.approx(gflops, rel=0.005)


@pytest.mark.parametrize("name", [n for n in PUBLISHED if n not in ("yolov5-s", "yolov5-m")])
def test_costs_with_our_predictors_are_within_a_percent(name: str) -> None:
    """Those of YOLOv5 S and M, where predictors weigh more, are 1.0 to 2.3 % below."""
    cost, (m_parameters, gflops) = cost_of(ZOO[name], "training"), PUBLISHED[name]
    assert cost.parameters / 1e6 == pytest.approx(m_parameters, rel=0.01)
    assert cost.flops / 1e9 == pytest.approx(gflops, rel=0.01)


@pytest.mark.parametrize("name", PUBLISHED_YOLOX)
def test_costs_of_yolox_are_those_published_to_the_last_digit(name: str) -> None:
    m_parameters, gflops = PUBLISHED_YOLOX[name]
    cost, values = cost_of(ZOO[name], "training"), 0
    model = build_detector(ZOO[name], "training").eval()

    def count(_: nn.Module, __: object, output: Tensor) -> None:
        nonlocal values
        values += output.numel()

    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.register_forward_hook(count)
    model(torch.empty(1, 3, *ZOO[name].image_size, device="meta"))
    assert cost.parameters / 1e6 == pytest.approx(
        m_parameters, abs=0.05 if m_parameters > 6 else 0.005
    )
    assert (cost.flops + 2 * 2 * values) / 1e9 == pytest.approx(gflops, abs=0.05)


def test_yolov7_deployed_is_as_its_paper_says() -> None:
    cost = cost_of(ZOO["yolov7"])
    assert cost.parameters / 1e6 == pytest.approx(36.9, rel=0.01)
    assert cost.flops / 1e9 == pytest.approx(104.7, rel=0.01)


def test_every_family_of_a_spec_is_in_the_table() -> None:
    assert tuple(FAMILIES) == FAMILY_NAMES
    named = {spec.family for spec in ZOO.values()}
    assert named | {trainable(spec).family for spec in ZOO.values()} == set(FAMILIES)


@pytest.mark.parametrize("name", NARROWED)
def test_outputs_keep_the_contract_and_survive_fusing(
    name: str, make: Callable[[str], Detector]
) -> None:
    model = make(name)
    images = torch.rand(2, 3, 64, 96)
    fused = fuse(model)
    with torch.no_grad():
        before, after = (Predictor(m, (64, 96))(images) for m in (model, fused))
    assert [tuple(x.shape) for x in before] == [(2, 126, 4), (2, 126, 3)]
    for a, b in zip(before, after, strict=True):
        assert torch.allclose(a, b, atol=1e-3)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in fused.modules())


@pytest.mark.parametrize("name", NARROWED)
def test_gradients_reach_every_parameter(name: str) -> None:
    model = new_detector(narrow(ZOO[name]), 0).train()
    logits, distances = model(torch.rand(2, 3, 64, 96))
    (logits.square().mean() + distances.square().mean()).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("engine", measuring_engines())
@pytest.mark.parametrize("name", ["yolov5-l", "yolov7", "yolov8-n", "yolox-nano"])
def test_all_convolutions_but_the_predictors_run_in_int8(
    name: str, engine: str, tmp_path: Path
) -> None:
    pytest.importorskip(engine)
    path = tmp_path / "p.onnx"
    write_untrained_model(narrow(ZOO[name]), path, engine=engine, precision="int8")
    found = coverage(path, engine)
    predictors = 9 if ZOO[name].family == "yolox" else 6
    assert found.int8 == found.total - predictors


@pytest.mark.parametrize("name", NARROWED)
def test_groups_are_the_parts_that_papers_draw(name: str) -> None:
    """Stem, stages and their layers, pooling, merges; heads where they have convolutions."""
    model = QuantizedDetector(fuse(new_detector(narrow(ZOO[name]), 0).eval()), QuantSpec())
    named = {path for path, part in model.named_modules() if isinstance(part, QuantGroup)}
    headless = {f"heads.head{i}" for i in (1, 2, 3)} if ZOO[name].family == "yolov5" else set()
    bare = {"neck.up1", "neck.up2"} if ZOO[name].family == "yolov8" else set()
    assert set(model.plan.groups) == named - headless - bare
    assert isinstance(model.get_submodule("backbone.stem"), Stem)
    assert max(map(len, model.plan.groups.values())) <= 9


def test_pooling_in_a_row_is_pooling_side_by_side() -> None:
    torch.manual_seed(0)
    row, side = SPPF(8, activation="relu").eval(), SPP(8, activation="relu").eval()
    side.load_state_dict(row.state_dict())
    x = torch.randn(2, 8, 20, 24)
    with torch.no_grad():
        assert torch.equal(row(x), side(x))


@pytest.mark.parametrize("name", ["yolox-nano", "yolox-l"])
def test_yolox_is_trained_with_the_head_of_the_others(name: str) -> None:
    spec = trainable(narrow(ZOO[name]))
    model = new_detector(spec, 0).train()
    logits, distances = model(torch.rand(2, 3, 64, 96))
    assert (logits.shape, distances.shape) == ((2, 126, 3), (2, 126, 68))
    (logits.square().mean() + distances.square().mean()).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []
    assert trainable(spec) is spec
