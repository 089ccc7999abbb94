"""Exact resume: everything a step depends on, in one safetensors file written atomically.

The next step depends on the weights, the optimiser's moments, the averaged weights and how far the
run is. Order and augmentation are functions of (seed, epoch, image), so no generator state is
kept. One file rather than several: a kill cannot leave halves of two different steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from detkit.artifact.artifact import atomic_path
from detkit.artifact.embedded import embedded_text
from detkit.artifact.seal import is_sealed, new_token, seal
from detkit.core.errors import ArtifactError, DetkitError
from detkit.core.serialization import from_json, to_json
from detkit.nn.detector import Detector
from detkit.train.optim import Ema

DIGEST = "digest"  # key in the metadata


@dataclass(frozen=True, kw_only=True)
class TrainState:
    """Where a run stands: the next batch to train on, and the best so far."""

    epoch: int = 0
    batch: int = 0
    step: int = 0  # optimiser steps done
    best_ap: float = -1.0
    best_ap50: float = 0.0
    best_epoch: int = -1
    seconds: float = 0.0
    ema_updates: int = 0
    loss_sums: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0)  # of the epoch: total, cls, iou, dfl


def save_state(
    path: Path, state: TrainState, model: Detector, ema: Ema, optimizer: torch.optim.Optimizer
) -> None:
    """Writes the state of a run so that `load_state` continues bit for bit."""
    tensors = {f"model.{n}": t for n, t in model.state_dict().items()}
    tensors |= {f"ema.{n}": t for n, t in ema.model.state_dict().items()}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{key}": value for key, value in moments.items()}
    tensors |= {f"grad.{n}": p.grad for n, p in model.named_parameters() if p.grad is not None}
    saved = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    token = new_token()
    with atomic_path(path) as partial:
        metadata = {"state": to_json(state), DIGEST: token}
        safetensors.torch.save_file(saved, partial, metadata=metadata)
        seal(partial, token)


def load_state(
    path: Path, model: Detector, ema: Ema, optimizer: torch.optim.Optimizer
) -> TrainState:
    """Puts a saved state back into freshly made objects of the same run.

    Raises:
        ArtifactError: no state there, damaged, or of another network.
    """
    if not path.is_file():
        raise ArtifactError(f"nothing to resume: no {path}")
    if not is_sealed(path, embedded_text(path, DIGEST)):
        raise ArtifactError(
            f"{path} is damaged: its content does not match its digest",
            hint=f"go on from its weights: --init {path.parent.parent}/last.safetensors -o ANOTHER",
        )
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            state = from_json(TrainState, file.metadata()["state"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        model.load_state_dict(_part(tensors, "model."))
        ema.model.load_state_dict(_part(tensors, "ema."))
        _load_optimizer(optimizer, _part(tensors, "optimizer."))
    except (SafetensorError, DetkitError, RuntimeError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path}: cannot resume from it: {error}") from error
    for name, gradient in _part(tensors, "grad.").items():
        parameter = model.get_parameter(name)
        parameter.grad = gradient.to(parameter.device)
    ema.updates = state.ema_updates
    return state


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def _load_optimizer(optimizer: torch.optim.Optimizer, moments: dict[str, Tensor]) -> None:
    moments_at: dict[int, dict[str, Tensor]] = {}
    for name, tensor in moments.items():
        index, key = name.split(".")
        moments_at.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": moments_at})
