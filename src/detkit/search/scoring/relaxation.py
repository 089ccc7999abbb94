"""The supernet as an objective that can be differentiated: what the gradient searcher descends on.

The score of a mixture is the loss of its network (see `nn.supernet.relaxed`) on images that the
shared weights were not trained on, in units of AP by the AP and the loss of both ends of the space.
Its cost is the expected one of additive models, fitted to networks of the space that were measured.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from detkit.config import SearchConfig
from detkit.data.training.batch import Batch
from detkit.data.training.loader import TrainLoader
from detkit.nn.supernet.relaxed import Relaxed, require_relaxable
from detkit.search.scoring.additive import CostTable, design, fit_table, measured
from detkit.search.scoring.objective import find_scalarization, limits
from detkit.search.scoring.sandwich import image_sizes, resized
from detkit.search.scoring.supernet import FOLDER, held_out_part
from detkit.search.scoring.supernet_weights import SupernetWeights
from detkit.search.strategies.discrete_space import DiscreteSpace, Floats
from detkit.search.strategies.searcher import ProgressLog
from detkit.spec.arch import ArchSpec
from detkit.spec.space import SearchSpace
from detkit.train.loss import DetectionLoss
from detkit.train.stop import StopSignal

MEASURED = 32  # networks that the cost models are fitted to
HELD_OUT_BATCHES = 16  # in turn, one a step
ValueAndGradient = tuple[float, dict[str, Floats]]
Costs = Callable[[ArchSpec], Mapping[str, float]]


class SupernetRelaxation:
    """Score and costs of mixtures, a `searcher.Relaxation`; loads nothing before the first call."""

    def __init__(
        self,
        config: SearchConfig,
        space: SearchSpace,
        out: Path,
        *,
        open_weights: Callable[[], SupernetWeights],
        costs: Costs,
        stop: StopSignal,
    ) -> None:
        """Raises UsageError for a space whose networks cannot be mixed."""
        require_relaxable(space)
        self.config, self.space, self.out, self.costs = config, space, out, costs
        self.open_weights, self.stop = open_weights, stop
        self.discrete = DiscreteSpace(space.knobs)
        self.tables: dict[str, CostTable] = {}  # of the cost sought low, and of those limited

    def measure(self, log_progress: ProgressLog) -> None:
        """Measures the networks that costs are fitted to, continuing where it was stopped.

        To be called before the first mixture is asked for. Raises Stopped where a signal came.
        """
        rows = design(self.discrete, MEASURED, self.config.seed)
        path = self.out / FOLDER / "costs.json"

        def costs(row: Sequence[int]) -> Mapping[str, float]:
            return self.costs(self.space.to_arch(self.discrete.to_point(row)))

        found = measured(path, rows, costs, log_progress)
        names = {self.config.cost, *limits(self.config)}
        self.tables = {name: fit_table(self.discrete, rows, found[name]) for name in names}

    def __call__(self, mixture: Mapping[str, Floats], step: int) -> dict[str, ValueAndGradient]:
        """Objectives of a mixture, with their slopes. Raises Stopped where a signal came."""
        self.stop.check()
        loss, slopes = self._loss(mixture, self.batches[step % len(self.batches)])
        scale = self.ap_per_loss
        score: ValueAndGradient = (
            -scale * loss,
            {knob: -scale * part for knob, part in slopes.items()},
        )
        found = {name: table.expected(mixture) for name, table in self.tables.items()}
        found["score"] = score
        value = find_scalarization(self.config)
        if value is not None:
            found["value"] = _combined(value, score, found[self.config.cost])
        return found

    def _loss(self, mixture: Mapping[str, Floats], batch: Batch) -> ValueAndGradient:
        """The loss, a mean over the image sizes by their shares, and its slopes."""
        shares = {
            knob: torch.tensor(part, dtype=torch.float32, device=self.device, requires_grad=True)
            for knob, part in mixture.items()
        }
        sizes = image_sizes(self.space)
        weights = shares.get("image_size", torch.ones(1, device=self.device))
        total = torch.zeros((), device=self.device)
        for size, weight in zip(sizes, weights, strict=True):
            if float(weight.detach()) > 0:
                total = total + weight * self._loss_at(size, shares, batch)
        total.backward()
        slopes = {
            knob: np.zeros(len(part)) if part.grad is None else part.grad.double().cpu().numpy()
            for knob, part in shares.items()
        }
        return float(total.detach()), slopes

    def _loss_at(self, size: tuple[int, int], shares: Mapping[str, Tensor], batch: Batch) -> Tensor:
        images, labels = resized(
            batch.images_on(self.device),
            batch.labels.to(self.device),
            size,
        )
        logits, distances = self.relaxed(images, shares)
        loss = DetectionLoss(self.config.train.loss, size).to(self.device)
        total: Tensor = loss(logits, distances, labels).total
        return total

    # --- made at the first call ------------------------------------------------------------------

    @functools.cached_property
    def weights(self) -> SupernetWeights:
        return self.open_weights()

    @property
    def device(self) -> torch.device:
        return self.weights.device

    @functools.cached_property
    def relaxed(self) -> Relaxed:
        supernet = self.weights.elastic.supernet.to(self.device).train()
        return Relaxed(supernet.requires_grad_(False), self.space)

    @functools.cached_property
    def batches(self) -> list[Batch]:
        """Images that the weights did not see, in the order of their first epoch."""
        loader = TrainLoader(
            held_out_part(self.weights.folder.splits["train"]),
            size=self.space.largest_arch().image_size,
            augment=self.config.train.augment,
            seed=self.config.seed,
            batch_size=self.config.train.batch,
        )
        found = list(loader.epoch(0, close=True))[:HELD_OUT_BATCHES]
        loader.close()
        return found

    @functools.cached_property
    def ap_per_loss(self) -> float:
        """AP gained by one unit less of loss, between the ends of the space; 1 where none is."""
        losses, aps = [], []
        for row in (np.zeros_like(self.discrete.counts), self.discrete.counts - 1):
            shares = np.split(
                self.discrete.one_hot(row[None])[0], np.cumsum(self.discrete.counts)[:-1]
            )
            mixture = dict(zip(self.discrete.values, shares, strict=True))
            losses.append(np.mean([self._loss(mixture, batch)[0] for batch in self.batches]))
            network = self.weights.network(self.space.to_arch(self.discrete.to_point(row)))
            aps.append(self.weights.ap(network))
        gained, saved = aps[1] - aps[0], float(losses[0] - losses[1])
        return gained / saved if gained > 0 and saved > 0 else 1.0


def _combined(
    value: Callable[[float, float], float], score: ValueAndGradient, cost: ValueAndGradient
) -> ValueAndGradient:
    """Combines score and cost into an objective linear in both, with its slopes."""
    of_score = value(1.0, 0.0) - value(0.0, 0.0)
    of_cost = value(0.0, 1.0) - value(0.0, 0.0)
    slopes = {knob: of_score * part + of_cost * cost[1][knob] for knob, part in score[1].items()}
    return value(score[0], cost[0]), slopes
