"""Every network of a space, as slices of one set of weights."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch

from detkit.core.errors import UsageError
from detkit.nn.checkpoint import new_detector
from detkit.nn.decode import Predictor
from detkit.nn.detector import build_detector, fuse
from detkit.nn.supernet.elastic import Elastic, require_elastic
from detkit.spec.arch import BLOCK_KINDS, ArchSpec
from detkit.spec.space import SPACES, SearchSpace, Value
from detkit.spec.zoo import ZOO

SIDE = 64


def images(count: int = 2) -> torch.Tensor:
    return torch.rand(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_extracted_network_is_the_slice(
    space: SearchSpace,
    training: bool,
    make_elastic: Callable[[SearchSpace], Elastic],
    draw_specs: Callable[[SearchSpace, int], list[ArchSpec]],
    difference: Callable[..., float],
) -> None:
    elastic = make_elastic(space)
    elastic.supernet.train(training)
    for spec in draw_specs(space, 3):
        model = elastic.extract(spec)
        assert model.spec == spec
        with torch.no_grad():
            assert difference(elastic(images(), spec), model(images())) <= 1e-5


def test_extracted_network_can_be_deployed(
    space: SearchSpace,
    make_elastic: Callable[[SearchSpace], Elastic],
    draw_specs: Callable[[SearchSpace, int], list[ArchSpec]],
    difference: Callable[..., float],
) -> None:
    elastic = make_elastic(space)
    elastic.supernet.eval()
    for spec in draw_specs(space, 1):
        model = elastic.extract(spec)
        with torch.no_grad():
            trained, deployed = (
                Predictor(form.eval(), (SIDE, SIDE))(images()) for form in (model, fuse(model))
            )
        assert difference(trained[1:], deployed[1:]) <= 1e-4
        assert difference(trained[:1], deployed[:1]) <= 1e-4 * SIDE


def test_largest_network_is_the_whole_one(
    space: SearchSpace,
    make_elastic: Callable[[SearchSpace], Elastic],
    difference: Callable[..., float],
) -> None:
    elastic = make_elastic(space)
    elastic.supernet.eval()
    with torch.no_grad():
        assert difference(elastic(images(), elastic.supernet.spec), elastic.supernet(images())) == 0


def test_gradients_of_a_slice_reach_the_shared_weights_and_no_others(
    space: SearchSpace,
    make_elastic: Callable[[SearchSpace], Elastic],
    draw_specs: Callable[[SearchSpace, int], list[ArchSpec]],
) -> None:
    elastic = make_elastic(space)
    whole, spec = elastic.supernet.train(), draw_specs(space, 0)[0]
    before = {name: buffer.clone() for name, buffer in whole.named_buffers()}
    logits, distances = elastic(images(), spec)
    (logits.square().sum() + distances.square().sum()).backward()
    alone = elastic.extract(spec).train()
    logits, distances = alone(images())
    (logits.square().sum() + distances.square().sum()).backward()
    for name, parameter in alone.named_parameters():
        shared = whole.get_parameter(name).grad
        assert shared is not None
        assert parameter.grad is not None
        torch.testing.assert_close(
            shared.abs().double().sum(), parameter.grad.abs().double().sum(), rtol=1e-3, atol=1e-5
        )
    untouched = {n for n, p in whole.named_parameters() if p.grad is None}
    assert untouched == set(dict(whole.named_parameters())) - set(dict(alone.named_parameters()))
    assert all(torch.equal(before[name], buffer) for name, buffer in whole.named_buffers())


def test_implanted_network_comes_out_as_it_went_in(
    space: SearchSpace,
    make_elastic: Callable[[SearchSpace], Elastic],
    draw_specs: Callable[[SearchSpace, int], list[ArchSpec]],
) -> None:
    elastic = make_elastic(space)
    for spec in draw_specs(space, 2):
        part = new_detector(spec, 7)
        elastic.load_subnet(part)
        found = elastic.extract(spec).state_dict()
        assert all(torch.equal(tensor, found[name]) for name, tensor in part.state_dict().items())


def test_every_architecture_of_a_space_can_be_extracted() -> None:
    knobs: dict[str, tuple[Value, ...]] = {
        "stem": (8, 16),
        "stages.2.blocks": (1, 2, 3),
        "neck.3.hidden": (16, 32),
        "stages.2.concat": (False, True),
    }
    space = SearchSpace(name="few", base=ZOO["yolo-nas-p"], knobs=knobs)
    elastic = Elastic(new_detector(space.largest_arch(), 0))
    all_points = [
        dict(zip(space.knobs, values, strict=True))
        for values in itertools.product(*space.knobs.values())
    ]
    assert len(all_points) == space.size == 24
    for point in all_points:
        spec = space.to_arch(point)
        model = elastic.extract(spec)
        assert model.spec == spec
        assert not any(tensor.is_meta for tensor in model.state_dict().values())


@pytest.mark.parametrize("block", BLOCK_KINDS)
def test_every_kind_of_block_is_sliced(
    block: str,
    make_elastic: Callable[[SearchSpace], Elastic],
    draw_specs: Callable[[SearchSpace, int], list[ArchSpec]],
    difference: Callable[..., float],
) -> None:
    space = SearchSpace(
        name=block,
        base=dataclasses.replace(ZOO["yolo-nas-p"], block=block, kernel=5),
        knobs={"stages.1.hidden": (14, 24), "neck.0.hidden": (10, 24), "neck.1.blocks": (1, 2)},
    ).for_task(3, (SIDE, SIDE))
    elastic = make_elastic(space)
    elastic.supernet.train()
    spec = draw_specs(space, 0)[0]
    with torch.no_grad():
        assert difference(elastic(images(), spec), elastic.extract(spec)(images())) <= 1e-5


def test_concatenated_steps_keep_their_place(
    wide: SearchSpace, make_elastic: Callable[[SearchSpace], Elastic]
) -> None:
    """Of three bottlenecks' outputs a shallower layer takes its own; the side path stays last."""
    elastic = make_elastic(wide)
    layer: Any = elastic.supernet.get_submodule("backbone.stage3.blocks")
    merge = "backbone.stage3.blocks.conv3.conv.weight"
    whole = elastic.supernet.get_parameter(merge)
    width, steps = layer.conv1.conv.out_channels, len(layer.bottlenecks) + 1
    for hidden, blocks, concat in ((8, 1, True), (12, 2, False)):
        point = wide.smallest_point() | {
            "stages.2.hidden": hidden, "stages.2.blocks": blocks, "stages.2.concat": concat
        }  # fmt: skip
        own = elastic.extract(wide.to_arch(point)).get_parameter(merge)
        starts = [*(range(blocks + 1) if concat else [blocks]), steps]
        taken = [c for start in starts for c in range(start * width, start * width + hidden)]
        assert torch.equal(own, whole[: len(own)][:, taken])


def test_network_outside_the_largest_is_refused() -> None:
    tiny = SPACES["tiny"]
    elastic = Elastic(build_detector(tiny.largest_arch(), "training"))
    inside = tiny.to_arch(tiny.smallest_point())
    for other in (
        dataclasses.replace(inside, stem=64),
        dataclasses.replace(inside, activation="silu"),
        dataclasses.replace(
            inside, stages=tuple(dataclasses.replace(s, concat=True) for s in inside.stages)
        ),
    ):
        with pytest.raises(UsageError, match="not within the supernet"):
            elastic.extract(other)


def test_space_that_varies_kinds_is_refused() -> None:
    with pytest.raises(UsageError, match="across block, kernel, activation") as refused:
        require_elastic(SPACES["full"])
    assert "yolo-nas" in str(refused.value.hint)
    require_elastic(SPACES["yolo-nas"])
    other = SearchSpace(name="other", base=ZOO["yolov8-n"], knobs={"stem": (8, 16)})
    with pytest.raises(UsageError, match="within yolo-nas, not yolov8"):
        require_elastic(other)


def test_largest_architecture_holds_the_named_ones() -> None:
    space = SPACES["yolo-nas"].for_task(3, (64, 64))
    elastic = Elastic(build_detector(space.largest_arch(), "training"))
    for name in ("yolo-nas-n", "yolo-nas-s", "yolo-nas-m", "yolo-nas-l"):
        assert elastic.subnet_tensors(space.to_arch(space.zoo_points()[name]))
