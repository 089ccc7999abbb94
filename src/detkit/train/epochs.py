"""How many epochs a run takes when nobody said: as many as make a number of optimiser steps."""

from __future__ import annotations

import math
from dataclasses import dataclass

from detkit.config import TrainConfig
from detkit.train.optim import learning_rate
from detkit.train.state import TrainState


@dataclass(frozen=True)
class StepBudget:
    """Optimiser steps to aim at, within bounds on the epochs."""

    steps: int
    least_epochs: int
    most_epochs: int


# For scale: on 205 images of 3 classes yolo-nas-n had AP 0.525 after 750 steps from scratch, and
# 0.558 after 250 from weights that had learned other sets (320 px, batches of 8).
FROM_SCRATCH = StepBudget(steps=5000, least_epochs=30, most_epochs=300)
FROM_WEIGHTS = StepBudget(steps=2500, least_epochs=10, most_epochs=100)


def choose_epochs(num_images: int, config: TrainConfig, *, from_weights: bool) -> int:
    """The epochs of a run over `num_images`: fewer on large sets, and fewer from trained weights.

    Under a time limit it is the most there are, so that the limit decides; the schedule follows
    whichever comes first.

    >>> choose_epochs(205, TrainConfig(batch=8), from_weights=False)
    200
    >>> choose_epochs(118_000, TrainConfig(batch=16), from_weights=True)
    10
    """
    budget = FROM_WEIGHTS if from_weights else FROM_SCRATCH
    if config.time_limit:
        return budget.most_epochs
    batches = max(num_images // config.batch, 1)
    steps_per_epoch = math.ceil(batches / config.batches_per_step)
    wanted = math.ceil(budget.steps / steps_per_epoch)
    return min(max(wanted, budget.least_epochs), budget.most_epochs)


def other_length_note(before: int, state: TrainState, config: TrainConfig) -> str:
    """The line that says what it means that a resumed run is to be of another number of epochs.

    Args:
        before: epochs that it was to have until now.
    """
    note = (
        f"{config.epochs} epochs instead of {before}: from here on learning rate and augmentation"
        f" are those of a run of {config.epochs}"
    )
    if config.time_limit or not state.epoch or state.epoch >= config.epochs:
        return note
    an_epoch = max(1, round(state.step / state.epoch))
    step = min(state.step, before * an_epoch - 1)
    was = learning_rate(config.optim, step, an_epoch, before * an_epoch)
    now = learning_rate(config.optim, state.step, an_epoch, config.epochs * an_epoch)
    return f"{note}: {now:.1e} after {state.epoch} epochs, where it was {was:.1e}"


def epochs_note(num_images: int, epochs: int, config: TrainConfig) -> str:
    """The line that says which number was chosen, and why."""
    why = "at most, by the time limit" if config.time_limit else f"chosen for {num_images} images"
    return f"{epochs} epochs, {why}; --epochs says otherwise"
