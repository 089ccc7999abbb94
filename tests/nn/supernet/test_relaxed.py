"""Mixtures of networks: at every corner the network itself, in between a slope."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest
import torch

from detkit.core.errors import UsageError
from detkit.nn.supernet.elastic import Elastic
from detkit.nn.supernet.relaxed import Choice, Relaxed, require_relaxable
from detkit.spec.arch import ArchSpec
from detkit.spec.space import SPACES, SearchSpace
from detkit.spec.zoo import ZOO


def images() -> torch.Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def corner(space: SearchSpace, spec: ArchSpec) -> dict[str, torch.Tensor]:
    """All of the share on the values of one network."""
    point = space.to_point(spec)
    return {
        knob: torch.tensor([float(value == point[knob]) for value in values])
        for knob, values in space.knobs.items()
    }


def test_mixture_of_one_network_is_that_network(
    space: SearchSpace,
    make_elastic: Callable[[SearchSpace], Elastic],
    draw_specs: Callable[[SearchSpace, int], list[ArchSpec]],
    difference: Callable[..., float],
) -> None:
    elastic = make_elastic(space)
    elastic.supernet.train()
    relaxed = Relaxed(elastic.supernet, space)
    for spec in draw_specs(space, 3):
        with torch.no_grad():
            found = relaxed(images(), corner(space, spec))
            assert difference(found, elastic(images(), spec)) <= 1e-4


def test_every_knob_has_a_slope_and_statistics_stay(
    wide: SearchSpace, make_elastic: Callable[[SearchSpace], Elastic]
) -> None:
    whole = make_elastic(wide).supernet.train()
    before = {name: buffer.clone() for name, buffer in whole.named_buffers()}
    shares = {
        knob: torch.full((len(values),), 1 / len(values), requires_grad=True)
        for knob, values in wide.knobs.items()
    }
    logits, distances = Relaxed(whole, wide)(images(), shares)
    (logits.square().mean() + distances.square().mean()).backward()
    for knob, share in shares.items():
        assert share.grad is not None
        assert len(set(share.grad.tolist())) > 1, knob
    assert all(torch.equal(before[name], buffer) for name, buffer in whole.named_buffers())


def test_networks_of_composed_blocks_are_refused() -> None:
    base = dataclasses.replace(ZOO["yolo-nas-p"], block="csp")
    with pytest.raises(UsageError, match="cannot mix networks of csp"):
        require_relaxable(SearchSpace(name="csp", base=base, knobs={"stem": (8, 16)}))
    require_relaxable(SPACES["yolo-nas"])


def test_mask_by_hand() -> None:
    choice = Choice(torch.tensor([1, 3, 4]), torch.tensor([0.5, 0.25, 0.25]))
    assert choice.mask().tolist() == [1.0, 0.5, 0.5, 0.25]
    assert choice.halved().mask().tolist() == [0.5, 0.25]
    assert float(choice.at_least(3)) == 0.5
    assert float(choice.exactly(1)) == 0.5
