"""The batch of a run that leaves it to detkit: as many images as its GPU has memory for."""

from __future__ import annotations

import copy
import functools
from dataclasses import replace

import torch

from detkit.config import AUTO_BATCH, TrainConfig
from detkit.core.errors import TrainingError, UsageError
from detkit.engines.torch.session import find_device
from detkit.train import ranks
from detkit.train.batch_memory import GRAIN, Learn, batch_that_fits
from detkit.train.setup import TrainSetup
from detkit.train.state import TrainState
from detkit.train.step import PlainStep, StepContext

CPU_BATCH = TrainConfig().batch  # which has no say in memory, only in what is learned
LEAST_STEPS = 16  # of an epoch: a small set is not one batch, whatever the memory
COPIES = 3  # of the weights beside those a step is tried with: their average and two moments


def with_batch_of_before(config: TrainConfig, state: TrainState | None) -> TrainConfig:
    """The settings of a run that goes on, with the batch that was chosen when it began."""
    if config.batch != AUTO_BATCH or state is None:
        return config
    return replace(config, batch=state.inputs.settings["batch"])


def with_chosen_batch(
    config: TrainConfig, setup: TrainSetup
) -> tuple[TrainConfig, tuple[str, ...]]:
    """The settings with a number of images a batch, and a line that says what was chosen.

    Raises:
        TrainingError: the GPU has not the memory for even a few images.
        UsageError: a run of several processes.
    """
    if config.batch != AUTO_BATCH:
        return config, ()
    if ranks.is_shared():
        raise UsageError(
            "--batch auto is for a run of one process",
            hint="what fits one GPU: detkit train ... --batch auto --dry-run; all of them share"
            " the --batch of a run",
        )
    device = find_device(config.device)
    if device.type == "cpu":
        note = f"batch {CPU_BATCH}: on a CPU it is a matter of what is learned, not of memory"
        return replace(config, batch=CPU_BATCH), (note,)
    images = usual_batch(_images_that_fit(config, setup, device), len(setup.train.records))
    if not images:
        raise TrainingError(
            f"{device} has not the memory for a step on a few images",
            hint="a smaller --imgsz, or a smaller model",
        )
    note = f"batch {images}: chosen by the memory of {torch.cuda.get_device_name(device)}"
    return replace(config, batch=images), (note,)


def usual_batch(fits: int, images: int) -> int:
    """The batch: at most what fits, and of a small set so few that an epoch has steps.

    >>> usual_batch(fits=120, images=118_000), usual_batch(fits=120, images=205)
    (120, 8)
    """
    enough = max(images // LEAST_STEPS // GRAIN * GRAIN, GRAIN)
    return min(fits, enough)


def _images_that_fit(config: TrainConfig, setup: TrainSetup, device: torch.device) -> int:
    model = setup.model
    weights = sum(p.numel() * p.element_size() for p in model.parameters())
    try:
        learn = trial_step(replace(config, batch=GRAIN), setup, device)
        return batch_that_fits(learn, model.spec.image_size, device, kept_free=COPIES * weights)
    except torch.OutOfMemoryError:
        return 0


def trial_step(config: TrainConfig, setup: TrainSetup, device: torch.device) -> Learn:
    """A step as the run would make it, by a copy of the network."""
    model = copy.deepcopy(setup.model).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    context = StepContext.of_one_process(model.train(), config, device)
    step = PlainStep(context, setup.teacher.as_loss(config) if setup.teacher else None)
    return functools.partial(step.learn, epoch=0, batch=0)
