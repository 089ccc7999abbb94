"""AdamW groups, the learning-rate schedule, and the averaged copy of the weights."""

from __future__ import annotations

import copy
import math

import torch
from torch import nn

from detkit.config import OptimConfig
from detkit.nn.detector import Detector


def make_optimizer(model: nn.Module, config: OptimConfig) -> torch.optim.AdamW:
    """Makes AdamW with weight decay on convolution kernels only, not on other parameters."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.lr, fused=True)


def learning_rate(config: OptimConfig, step: int, steps_per_epoch: int, total_steps: int) -> float:
    """The rate of a step: linear warm-up from 0, then a cosine from lr down to lr * final_lr."""
    warmup = min(round(config.warmup_epochs * steps_per_epoch), total_steps - 1)
    if step < warmup:
        return config.lr * (step + 1) / (warmup + 1)
    progress = (step - warmup) / max(total_steps - warmup, 1)
    cosine = (1 + math.cos(math.pi * progress)) / 2
    return config.lr * (config.final_lr + (1 - config.final_lr) * cosine)


class Ema:
    """Exponential moving average of parameters and buffers; what is validated and saved.

    The decay ramps up as min(decay, (1 + t) / (10 + t)), so that short runs forget their start.
    """

    def __init__(self, model: Detector, decay: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self, model: Detector) -> None:
        """Moves the average towards `model` after one optimiser step."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        averages, current = self.model.state_dict(), model.state_dict()
        moving = [name for name, average in averages.items() if average.is_floating_point()]
        torch._foreach_lerp_(
            [averages[name] for name in moving], [current[name] for name in moving], 1 - decay
        )
        for name in averages.keys() - set(moving):
            averages[name].copy_(current[name])
