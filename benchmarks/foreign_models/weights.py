"""Seeded weights that tell images apart: no weights of the hubs are needed to compare two readings.

An untrained network says almost the same everywhere. Here its batch norms take their statistics
from real images, and the last layers before the scores are scaled so that every class is found
somewhere, and the image with the most has a hundred or two scores above a quarter.

Legend: B images, P places (cells, anchors, queries), D features and C logits of a place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

NEARLY_LINEAR = 2.0  # in deviations
NUM_SURE = 120  # scores above a quarter, of the image that has the most
LOGIT_OF_QUARTER, HIGHEST_LOGIT = -1.0986, 3.5
SOFTMAX_SPREAD = 4.0  # deviation of the logits of each class
DIRECTIONS = 12  # of the features that decide, at most
LEAST_SHARE = 1e-2  # of the largest variance: what varies less is near to rounding

Run = Callable[[], object]  # calls the model on a batch of images


def settle_batch_norms(model: nn.Module, run: Run) -> None:
    """Sets the running statistics of every batch norm to those of the images that `run` shows.

    Biases keep most activations where they are nearly linear: deep and random otherwise, a network
    makes much of the last bit of its input.
    """
    norms: list[Any] = [
        m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)
    ]
    for norm in norms:
        if norm.bias is not None:
            norm.bias.data.fill_(NEARLY_LINEAR)
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    with torch.no_grad():
        run()
    for norm in norms:
        norm.eval()


def spread_logits(
    layers: Iterable[nn.Module],
    run: Run,
    *,
    num_sure: int = NUM_SURE,
    directions: int = DIRECTIONS,
) -> None:
    """Scales weights and biases of layers whose outputs are the logits of one set of scores.

    Every class gets the same mean and deviation; then all get one scale and one shift, for which
    `num_sure` logits of the fullest image are above that of 0.25.

    Args:
        layers: convolutions or linear layers, of every level; those that are not called are left
            alone.
        directions: of the features that decide, at most.
    """
    logits = _normalised(layers, run, directions)
    if not logits:
        return
    of_images = torch.cat([seen.flatten(1) for seen in logits.values()], dim=1)
    border = of_images.topk(num_sure, dim=1).values[:, -1].max()
    factor = (HIGHEST_LOGIT - LOGIT_OF_QUARTER) / (of_images.max() - border)
    for layer in logits:
        _rescale(layer, factor, LOGIT_OF_QUARTER - border * factor)


def spread_softmax(
    layers: Iterable[nn.Module],
    run: Run,
    *,
    num_labels: int,
    background: int,
    num_sure: int = NUM_SURE,
) -> None:
    """Does the same for probabilities, by the logit of the background, one of `num_labels`."""
    logits = _normalised(layers, run)
    rows = torch.cat([x.reshape(len(x), -1, num_labels) for x in logits.values()], dim=1)
    rows = rows * SOFTMAX_SPREAD
    low, high = -40.0, 40.0
    for _ in range(40):
        shift = (low + high) / 2
        shifted = rows.clone()
        shifted[..., background] += shift
        probabilities = shifted.softmax(dim=-1)
        probabilities[..., background] = 0
        sure = int((probabilities > 0.25).sum(dim=(1, 2)).max())
        low, high = (shift, high) if sure > num_sure else (low, shift)
    for layer in logits:
        _rescale(layer, torch.tensor(SOFTMAX_SPREAD), torch.tensor(0.0))
        layer.bias.data.view(-1, num_labels)[:, background] += high


def spread_boxes(layers: Iterable[nn.Module], run: Run, *, spread: float = 0.7) -> None:
    """Has the last layers of a DETR's boxes, which start at zero, place boxes differently."""
    for layer in _normalised(layers, run):
        _rescale(layer, torch.tensor(spread), torch.tensor(0.0))


def wake_boxes(model: nn.Module, deviation: float = 0.05) -> None:
    """Draws the layers that start at zero (the last of a DETR's refinements)."""
    for layer in model.modules():
        if isinstance(layer, nn.Linear) and not layer.weight.any():
            nn.init.normal_(layer.weight, std=deviation)


def _normalised(
    layers: Iterable[nn.Module], run: Run, directions: int = DIRECTIONS
) -> dict[Any, Tensor]:
    """Gives every logit mean 0 and deviation 1; returns the logits (B, P, C) of each layer."""
    logits = {}
    for layer, (features, seen) in _seen(list(layers), run).items():
        weight, bias = layer.weight.data, layer.bias.data
        if features.shape[-1] == weight[0].numel():  # each place sees itself alone
            weight.copy_(
                _telling_places_apart(features, len(weight), directions).reshape(weight.shape)
            )
            seen = features @ weight.flatten(1).T.double() + bias
        each = seen.flatten(0, 1)
        scale = 1 / each.std(dim=0).clamp(min=1e-6)
        shift = -each.mean(dim=0) * scale
        _rescale(layer, scale, shift)
        logits[layer] = seen * scale + shift
    return logits


def _telling_places_apart(features: Tensor, num_logits: int, directions: int) -> Tensor:
    """Weights (C, D) drawn among what differs most within images and not between their means.

    Args:
        features: what the layer is given, (B, P, D).
    """
    means = features.mean(dim=1, keepdim=True)
    within = (features - means).flatten(0, 1)
    _, sizes, between = torch.linalg.svd((means - means.mean(dim=0)).flatten(0, 1))
    between = between[: int((sizes > 1e-6 * sizes[0]).sum())]
    within = within - within @ between.T @ between
    values, vectors = torch.linalg.eigh(within.T @ within / len(within))
    largest = (values > LEAST_SHARE * values[-1]) & (values >= values.topk(directions).values[-1])
    chosen = vectors[:, largest] / values[largest].sqrt()
    drawn = torch.randn(num_logits, chosen.shape[1], dtype=chosen.dtype)
    weights: Tensor = drawn @ chosen.T
    return weights


def _seen(layers: list[nn.Module], run: Run) -> dict[Any, tuple[Tensor, Tensor]]:
    """What each layer that is called is given and gives for the images, (B, P, D) and (B, P, C).

    All calls are put together; in float64.
    """
    seen: dict[nn.Module, list[tuple[Tensor, Tensor]]] = {}

    def keep(module: nn.Module, given: tuple[Tensor], out: Tensor) -> None:
        is_map = isinstance(module, nn.Conv2d)
        seen.setdefault(module, []).append((_rows(given[0], is_map), _rows(out, is_map)))

    handles = [layer.register_forward_hook(keep) for layer in layers]
    with torch.no_grad():
        run()
    for handle in handles:
        handle.remove()
    return {
        layer: (torch.cat([x for x, _ in calls], dim=1), torch.cat([y for _, y in calls], dim=1))
        for layer, calls in seen.items()
    }


def _rows(x: Tensor, is_map: bool) -> Tensor:
    """As (B, P, C): a map (B, C, H, W), rows of all images (P, C), the last of (S, B, P, C)."""
    x = x.detach().double()
    if is_map:
        return x.flatten(2).mT
    return x[None] if x.ndim == 2 else x[-1] if x.ndim == 4 else x


def _rescale(layer: Any, scale: Tensor, shift: Tensor) -> None:
    weight, bias = layer.weight.data, layer.bias.data
    bias.copy_(bias * scale + shift)
    weight.mul_(scale.reshape(-1, *[1] * (weight.ndim - 1)))
