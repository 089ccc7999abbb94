"""One network in several processes: what each learns from its share is what one learns from all."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from detkit.config import TrainConfig
from detkit.train import ranks
from fixtures.several_ranks import in_ranks
from fixtures.trainers import make_trainer


def learnt(config: TrainConfig, out: Path, *, frozen: bool) -> tuple[dict[str, Tensor], Tensor]:
    """The gradients of one batch, and its losses."""
    one = make_trainer(config, out)
    one.model.train()
    for module in one.model.modules():
        if frozen and isinstance(module, nn.BatchNorm2d):
            module.eval()
    batch = next(iter(one.loader.epoch(0)))
    parts = one.strategy.learn(batch.images_on(torch.device("cpu")), batch.labels, epoch=0, batch=0)
    losses = torch.stack([parts.total, parts.cls, parts.iou, parts.dfl])
    named = one.model.named_parameters()
    return (
        {name: p.grad.clone() for name, p in named if p.grad is not None},
        ranks.gather_rows(losses).mean(0),
    )


def difference(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """The norm of the difference of all gradients together, as a share of theirs."""
    assert found.keys() == expected.keys()
    apart, whole = (
        torch.stack([torch.linalg.vector_norm(t) for t in tensors]).norm()
        for tensors in ([found[name] - expected[name] for name in expected], expected.values())
    )
    return float(apart / whole)


@pytest.mark.parametrize("frozen", [True, False], ids=["frozen statistics", "synchronised"])
def test_two_processes_learn_what_one_learns_from_the_doubled_batch(
    config: TrainConfig, tmp_path: Path, frozen: bool
) -> None:
    exact = dataclasses.replace(config, amp="off")
    expected, losses = learnt(exact, tmp_path, frozen=frozen)
    first, second = in_ranks(2, lambda: learnt(exact, tmp_path, frozen=frozen))
    for gradients, told in (first, second):
        torch.testing.assert_close(told, losses, rtol=1e-4, atol=0)
        assert difference(gradients, expected) < (1e-5 if frozen else 1e-2)
    assert difference(first[0], second[0]) == 0
