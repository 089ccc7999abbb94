"""Schedule, parameter groups, averaged weights."""

from __future__ import annotations

import pytest
import torch

from detkit.config import OptimConfig
from detkit.nn.checkpoint import new_detector
from detkit.spec.zoo import ZOO
from detkit.train.optim import Ema, learning_rate, make_optimizer

CONFIG = OptimConfig(lr=1.0, final_lr=0.1, warmup_epochs=2)


def test_learning_rate_warms_up_then_falls_to_its_end() -> None:
    rates = [learning_rate(CONFIG, step, 10, 100) for step in range(101)]
    assert rates[:20] == sorted(rates[:20])
    assert max(rates) == rates[20] == 1.0
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert rates[100] == pytest.approx(0.1)
    assert rates[0] > 0


def test_a_run_shorter_than_its_warmup_still_has_a_rate() -> None:
    assert 0 < learning_rate(CONFIG, 0, 1, 1) <= 1


def test_biases_and_batch_norms_are_not_decayed() -> None:
    model = new_detector(ZOO["yolo-nas-p"], 0)
    decayed, kept = make_optimizer(model, OptimConfig(weight_decay=0.5)).param_groups
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.5, 0.0)
    assert all(p.ndim == 4 for p in decayed["params"])
    assert all(p.ndim == 1 for p in kept["params"])
    counted = len(decayed["params"]) + len(kept["params"])
    assert counted == len(list(model.parameters()))


def test_average_follows_quickly_at_first_and_slowly_later() -> None:
    model = new_detector(ZOO["yolo-nas-p"], 0)
    ema = Ema(model, 0.9)
    bias = "heads.head1.reg_pred.bias"
    with torch.no_grad():
        model.state_dict()[bias].fill_(1.0)
        ema.model.state_dict()[bias].fill_(0.0)
    ema.update(model)
    assert torch.allclose(ema.model.state_dict()[bias], torch.tensor(1 - 2 / 11))
    ema.updates = 10_000
    before = ema.model.state_dict()[bias].clone()
    ema.update(model)
    assert torch.allclose(ema.model.state_dict()[bias], before + 0.1 * (1 - before))
    assert ema.model.state_dict()["backbone.stem.conv.post_bn.num_batches_tracked"] == 0
