"""Exact resume: everything a step depends on, in one safetensors file written atomically.

The next step depends on the weights, the optimiser's moments, the averaged weights and how far the
run is. Order and augmentation are functions of (seed, epoch, image), so no generator state is
kept. One file rather than several: a kill cannot leave halves of two different steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import safetensors
import torch
from safetensors import SafetensorError
from torch import Tensor

from detkit.artifact.embedded import embedded_text
from detkit.artifact.outputs import made_names
from detkit.artifact.seal import is_sealed, new_token, seal
from detkit.artifact.writing import atomic_path, write_text
from detkit.core.errors import ArtifactError, DetkitError
from detkit.core.reading import text_of
from detkit.core.serialization import from_json, to_json
from detkit.inspection.run_folder import read_metrics
from detkit.nn.detector import Detector
from detkit.nn.tensor_file import write_tensors
from detkit.report import Averaged
from detkit.train.optim import Ema
from detkit.train.replica import laid_out_as, load_gradients
from detkit.train.run_inputs import RunInputs

STATE = Path("state") / "state.safetensors"
CONFIG, METRICS, LAST = "config.toml", "metrics.jsonl", "last.safetensors"

DIGEST = "digest"  # key in the metadata


@dataclass(frozen=True, kw_only=True)
class KeptEpoch:
    """An epoch, counted from 1, whose weights are kept to be averaged; and its AP."""

    epoch: int
    ap: float


@dataclass(frozen=True, kw_only=True)
class TrainState:
    """Where a run stands: the next batch to train on, the best so far, and what it learns from."""

    inputs: RunInputs = field(default_factory=RunInputs)
    epoch: int = 0
    batch: int = 0
    step: int = 0  # optimiser steps done
    best_ap: float | None = None  # None where it is undefined, or nothing was validated yet
    best_ap50: float | None = None
    best_epoch: int | None = None  # from 0
    seconds: float = 0.0
    ema_updates: int = 0
    loss_sums: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0)  # of the epoch: total, cls, iou, dfl
    loss_scale: tuple[float, int] = (0.0, 0)  # see `precision.LossScaler`
    kept: tuple[KeptEpoch, ...] = ()  # by slot
    averaged: Averaged | None = None  # at the last end of the run

    @property
    def epochs_without_rise(self) -> int:
        """Epochs done since AP was last better than before; an undefined AP is not waited for."""
        if self.best_ap is None or self.best_epoch is None:
            return 0
        return self.epoch - 1 - (self.best_epoch if self.best_ap else 0)


def save_state(
    path: Path,
    state: TrainState,
    model: Detector,
    ema: Ema,
    optimizer: torch.optim.Optimizer,
    gradients: Sequence[Mapping[str, Tensor]],
) -> None:
    """Writes the state of a run so that `load_state` continues bit for bit.

    Args:
        gradients: by name, of each process of the run; none where an update was made just before.
    """
    tensors = {f"model.{n}": t for n, t in model.state_dict().items()}
    tensors |= {f"ema.{n}": t for n, t in ema.model.state_dict().items()}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{key}": value for key, value in moments.items()}
    for number, mine in enumerate(gradients):
        tensors |= {f"grad.{number}.{name}": gradient for name, gradient in mine.items()}
    saved = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    token = new_token()
    with atomic_path(path) as partial:
        write_tensors(partial, saved, {"state": to_json(state), DIGEST: token})
        seal(partial, token)


def has_state(run: Path) -> bool:
    """Whether a run saved a state in its folder; False where it ended before its first one.

    Raises:
        ArtifactError: it went further than its first epoch, so there was one, and it is gone.
    """
    if (run / STATE).is_file():
        return True
    if (epochs := len(_metrics_lines(run / METRICS))) > 1:
        last = run / LAST
        raise ArtifactError(
            f"{run}: {epochs} epochs are done, but their state is gone: no {run / STATE}",
            hint=f"--init {last} starts a new run from its weights" if last.is_file() else "",
        )
    return False


def is_unbegun(run: Path, names: Iterable[str]) -> bool:
    """Whether a folder holds nothing but what a run of ours, of these names, began with."""
    ours = {Path(name).parts[0] for name in names}
    is_ours = made_names(run) <= ours and not (run / STATE).is_file()
    return is_ours and len(_metrics_lines(run / METRICS)) <= 1


def trim_metrics(path: Path, epochs: int) -> None:
    """Drops lines of epochs that the resumed run will do again."""
    kept = [line for line, epoch in read_metrics(path) if epoch.number <= epochs]
    write_text(path, "".join(f"{line}\n" for line in kept))


def _metrics_lines(path: Path) -> list[str]:
    """The whole lines of `metrics.jsonl`: a killed run may have left half of one."""
    lines = text_of(path).splitlines() if path.is_file() else []
    return [line for line in lines if line.endswith("}")]


def read_state(path: Path) -> TrainState:
    """Where the run whose state this is stands; its digest is checked, no tensor is loaded.

    Raises:
        ArtifactError: no state there, or damaged.
    """
    if not path.is_file():
        raise ArtifactError(f"nothing to resume: no {path}")
    if not is_sealed(path, embedded_text(path, DIGEST)):
        raise ArtifactError(
            f"{path} is damaged: its content does not match its digest",
            hint=f"go on from its weights: --init {path.parent.parent / LAST} -o ANOTHER",
        )
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            return from_json(TrainState, file.metadata()["state"])
    except (SafetensorError, DetkitError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path}: cannot resume from it: {error}") from error


def load_state(
    path: Path, model: Detector, ema: Ema, optimizer: torch.optim.Optimizer
) -> TrainState:
    """Puts a saved state back into freshly made objects of the same run.

    Raises:
        ArtifactError: no state there, damaged, or of another network.
    """
    state = read_state(path)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        model.load_state_dict(_part(tensors, "model."))
        ema.model.load_state_dict(_part(tensors, "ema."))
        _load_optimizer(optimizer, _part(tensors, "optimizer."))
    except (SafetensorError, DetkitError, RuntimeError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path}: cannot resume from it: {error}") from error
    load_gradients(model, _gradients(tensors))
    ema.updates = state.ema_updates
    return state


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def _gradients(tensors: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """The gradients of each process that saved some."""
    kept = _part(tensors, "grad.")
    count = len({name.split(".", 1)[0] for name in kept})
    return [_part(kept, f"{number}.") for number in range(count)]


def _load_optimizer(optimizer: torch.optim.Optimizer, moments: dict[str, Tensor]) -> None:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    moments_at: dict[int, dict[str, Tensor]] = {}
    for name, tensor in moments.items():
        index, key = name.split(".")
        moment = laid_out_as(parameters[int(index)], tensor)
        moments_at.setdefault(int(index), {})[key] = moment
    optimizer.load_state_dict({**optimizer.state_dict(), "state": moments_at})
