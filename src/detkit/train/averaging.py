"""The best epochs of a run kept by their weights, and the mean of these at its end.

Uniform averaging of checkpoints of one run: Izmailov et al., SWA, UAI 2018, arXiv 1803.05407; the
uniform soup of Wortsman et al., arXiv 2203.05482. What it is worth is not assumed: the loop scores
the mean and keeps it only where it is better than the best epoch.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from detkit.config.settings import MAX_AVERAGED
from detkit.core.errors import ArtifactError
from detkit.nn.checkpoint import load_checkpoint
from detkit.nn.detector import Detector
from detkit.train import ranks
from detkit.train.state import KeptEpoch

KEPT_FILES = tuple(f"state/best-{slot}.safetensors" for slot in range(MAX_AVERAGED))  # by slot


def slot_for(kept: Sequence[KeptEpoch], ap: float, *, most: int) -> int | None:
    """Where an epoch of this AP is kept: a free slot, or that of the worst one that it beats.

    >>> slot_for([KeptEpoch(epoch=1, ap=0.3), KeptEpoch(epoch=2, ap=0.2)], 0.25, most=2)
    1
    """
    if len(kept) < most:
        return len(kept)
    if not kept:
        return None
    worst = min(range(len(kept)), key=lambda slot: kept[slot].ap)
    return worst if ap > kept[worst].ap else None


def mean_of(model: Detector, kept: Sequence[KeptEpoch], run: Path) -> Detector | None:
    """The network with the mean weights and statistics of the epochs that are kept, in eval.

    The first process of a run reads them. None where fewer than two are still there, as they were
    kept.
    """
    weights = ranks.from_first(_mean_weights(kept, run) if ranks.is_first() else None)
    if not weights:
        return None
    mean = copy.deepcopy(model).eval()
    mean.load_state_dict(weights)
    return mean


def _mean_weights(kept: Sequence[KeptEpoch], run: Path) -> dict[str, Tensor]:
    states = []
    for path, epoch in zip((run / name for name in KEPT_FILES), kept, strict=False):
        try:
            model, manifest = load_checkpoint(path)
        except ArtifactError:
            continue
        if manifest.metrics.get("epoch") == epoch.epoch:
            states.append(model.state_dict())
    if len(states) < 2:
        return {}
    return {name: _mean([state[name] for state in states]) for name in states[0]}


def _mean(tensors: Sequence[Tensor]) -> Tensor:
    """The mean of float tensors; of counters the last."""
    if not tensors[0].is_floating_point():
        return tensors[-1]
    return torch.stack(list(tensors)).double().mean(0).to(tensors[0].dtype)
