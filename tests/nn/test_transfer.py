"""Weights carried over to the same network, to wider ones, narrower ones and other classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch

from detkit.nn.checkpoint import new_detector
from detkit.nn.detector import Detector
from detkit.nn.supernet.elastic import Elastic
from detkit.nn.transfer import can_transfer, overlap_of, transfer
from detkit.spec.arch import ArchSpec
from detkit.spec.space import SearchSpace
from detkit.spec.zoo import ZOO, with_task

NAMES = ("a", "b", "c")
P = with_task(ZOO["yolo-nas-p"], 3, (64, 64))


def widened(spec: ArchSpec) -> ArchSpec:
    """Wider everywhere, and every stage of the backbone concatenates all its steps."""
    stages = tuple(
        dataclasses.replace(stage, out=stage.out + 8, hidden=stage.hidden + 4, concat=True)
        for stage in spec.stages
    )
    neck = tuple(
        dataclasses.replace(stage, out=stage.out + 6, hidden=stage.hidden + 4)
        for stage in spec.neck
    )
    heads = tuple(width + 8 for width in spec.head_widths)
    return dataclasses.replace(spec, stem=24, stages=stages, neck=neck, head_widths=heads)


def test_known_classes_keep_their_rows_and_new_ones_start_fresh() -> None:
    parent = new_detector(P, 1)
    model = new_detector(with_task(P, 2, (64, 64)), 2)
    fresh = model.get_parameter("heads.head2.cls_pred.weight").clone()
    taken = transfer(parent, ("cat", "dog", "cow"), model, ("cow", "hen"))
    assert (taken.share, taken.classes) == (1.0, 1)
    rows = model.get_parameter("heads.head2.cls_pred.weight")
    assert torch.equal(rows[0], parent.get_parameter("heads.head2.cls_pred.weight")[2])
    assert torch.equal(rows[1], fresh[1])
    for name in ("heads.head1.reg_pred.weight", "neck.neck1.upsample.weight"):
        assert torch.equal(model.get_parameter(name), parent.get_parameter(name))


def test_the_same_network_gets_every_tensor(tiny: Detector) -> None:
    model = new_detector(dataclasses.replace(tiny.spec, image_size=(96, 96)), 5)
    assert transfer(tiny, NAMES, model, NAMES).share == 1.0
    wanted = tiny.state_dict()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in model.state_dict().items())


def test_a_wider_network_begins_with_the_same_outputs(
    tiny: Detector, difference: Callable[..., float]
) -> None:
    model = new_detector(widened(tiny.spec), 3).eval()
    taken = transfer(tiny, NAMES, model, NAMES)
    assert 0.2 < taken.share < 1
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert difference(tiny(images), model(images)) < 1e-4


def test_a_narrower_network_gets_the_slices_that_a_supernet_would_give_it(
    wide: SearchSpace,
    make_elastic: Callable[[SearchSpace], Elastic],
    draw_specs: Callable[[SearchSpace, int], list[ArchSpec]],
) -> None:
    elastic = make_elastic(wide)
    for spec in draw_specs(wide, 3):
        model = new_detector(spec, 4)
        assert transfer(elastic.supernet, NAMES, model, NAMES).share == 1.0
        wanted = elastic.extract(spec).state_dict()
        assert all(torch.equal(tensor, wanted[name]) for name, tensor in model.state_dict().items())


def test_a_deeper_network_keeps_fresh_blocks_at_the_end(tiny: Detector) -> None:
    stages = tuple(dataclasses.replace(stage, blocks=2) for stage in tiny.spec.stages)
    model = new_detector(dataclasses.replace(tiny.spec, stages=stages), 3)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    transfer(tiny, NAMES, model, NAMES)
    first, second = (f"backbone.stage2.blocks.bottlenecks.{i}.alpha" for i in (0, 1))
    assert torch.equal(model.state_dict()[first], tiny.state_dict()[first])
    fresh = [name for name in before if "bottlenecks.1." in name]
    assert second in fresh
    assert all(torch.equal(model.state_dict()[name], before[name]) for name in fresh)


@pytest.mark.parametrize(
    "change", [{"block": "repvgg"}, {"activation": "silu"}, {"kernel": 5}, {"reg_max": 8}]
)
def test_weights_do_not_cross_what_gives_them_another_meaning(change: dict[str, object]) -> None:
    other = dataclasses.replace(P, **change)  # type: ignore[arg-type]
    assert not can_transfer(P, other)
    assert overlap_of(P, other) == 0


def test_overlap_is_one_for_the_same_network_symmetric_and_less_for_any_other() -> None:
    other = widened(P)
    assert overlap_of(P, with_task(P, 7, (96, 96))) == 1
    assert overlap_of(P, other) == pytest.approx(overlap_of(other, P))
    assert 0 < overlap_of(P, other) < 1
    assert overlap_of(ZOO["yolo-nas-n"], ZOO["yolo-nas-s"]) < 0.5
    assert overlap_of(P, ZOO["yolov8-n"]) == 0
