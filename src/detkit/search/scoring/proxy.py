"""Scores of networks that nobody trained: sizes, and what fresh weights tell.

NASWOT: Mellor et al., ICML 2021, arXiv 2006.04647. Zen: Lin et al., ICCV 2021, arXiv 2102.01063,
here over the three maps that the heads see. SynFlow: Tanaka et al., NeurIPS 2020, arXiv 2006.05467.
On 6,561 trained networks FLOPs ranked best by far of the sizes (Kendall 0.56, parameters 0.22).
All are higher for networks expected to be better, and only compare networks of one space.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from detkit.core.errors import UsageError, did_you_mean
from detkit.nn.blocks import ACTIVATIONS
from detkit.nn.checkpoint import new_detector
from detkit.nn.detector import Cost, Detector
from detkit.spec.arch import ArchSpec

SIDE = 64  # of the images, in pixels: enough for all strides
BATCH = 8
NOISE = 0.01  # Zen's mix of a second image into the first
REPEATS = 4


def flops(spec: ArchSpec, cost: Cost, seed: int) -> float:
    """Logarithm of the deployed multiply-adds."""
    return math.log(cost.macs)


def params(spec: ArchSpec, cost: Cost, seed: int) -> float:
    """Logarithm of the deployed parameters."""
    return math.log(cost.parameters)


def naswot(spec: ArchSpec, cost: Cost, seed: int) -> float:
    """Scores how differently activations switch for different images: log |K_H|, equation 2."""
    model = _fresh(spec, seed)
    kernel = torch.zeros(BATCH, BATCH, dtype=torch.float64)
    kinds = tuple({type(make()) for make in ACTIVATIONS.values()})

    def count(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        code = (output > 0).flatten(1).double()
        kernel.add_(code @ code.T + (1 - code) @ (1 - code).T)

    for module in model.modules():
        if isinstance(module, kinds):
            module.register_forward_hook(count)
    with torch.no_grad():
        model(_noise(seed).add(0.5))
    return float(torch.linalg.slogdet(kernel).logabsdet)


def zen(spec: ArchSpec, cost: Cost, seed: int) -> float:
    """Scores how strongly features answer a small change, with batch-norms undone: algorithm 1."""
    model = _fresh(spec, seed)
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, generator=generator)
    scores = [_zen_once(model, seed + repeat) for repeat in range(REPEATS)]
    return sum(scores) / REPEATS


def _zen_once(model: Detector, seed: int) -> float:
    deviations: list[float] = []

    def note(module: nn.Module, inputs: tuple[Tensor], _output: Tensor) -> None:
        variance = inputs[0].var(dim=(0, 2, 3), correction=0).mean()
        deviations.append(0.5 * math.log(float(variance) + 1e-12))

    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    images, other = _noise(seed), _noise(seed + 1000)
    with torch.no_grad():
        changed = model.neck(model.backbone(images + NOISE * other))
        hooks = [norm.register_forward_hook(note) for norm in norms]
        features = model.neck(model.backbone(images))
        for hook in hooks:
            hook.remove()
    change = sum(float((a - b).abs().mean()) for a, b in zip(features, changed, strict=True))
    return math.log(change + 1e-12) + sum(deviations)


def synflow(spec: ArchSpec, cost: Cost, seed: int) -> float:
    """Logarithm of the summed synaptic saliency, with all weights made positive: equation 1."""
    model = _fresh(spec, seed).eval().double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.abs_()
    logits, distances = model(torch.ones(1, 3, SIDE, SIDE, dtype=torch.float64))
    (logits.sum() + distances.sum()).backward()
    saliency = sum(
        float((parameter.detach() * parameter.grad).abs().sum())
        for parameter in model.parameters()
        if parameter.grad is not None
    )
    return math.log(saliency)


Proxy = Callable[[ArchSpec, Cost, int], float]
PROXIES: dict[str, Proxy] = {
    "flops": flops,
    "params": params,
    "naswot": naswot,
    "zen": zen,
    "synflow": synflow,
}


def find_proxy(name: str) -> Proxy:
    """Raises UsageError for a proxy of another name."""
    if name not in PROXIES:
        raise UsageError(f"unknown proxy '{name}'", hint=did_you_mean(name, PROXIES))
    return PROXIES[name]


def _fresh(spec: ArchSpec, seed: int) -> Detector:
    """An untrained network in training mode: batch-norms take the statistics of the batch."""
    return new_detector(spec, seed).train()


def _noise(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(BATCH, 3, SIDE, SIDE, generator=generator)
