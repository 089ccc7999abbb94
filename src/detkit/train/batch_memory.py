"""How many images a training step has memory for, from what two small batches took.

A step takes bytes of its own, for weights, moments and workspaces, and the same again for each
image, so two peaks tell both. Only a GPU is asked: on a CPU the batch is a matter of the recipe.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch

from detkit.core.errors import TrainingError
from detkit.data.training.labels import Labels, certain
from detkit.train import ranks
from detkit.train.step import StepStrategy

PROBES = (2, 6)  # images of the batches tried
SHARE = 0.8  # of the free memory that a chosen batch may take: others and fragments take some
GRAIN = 8  # a chosen batch is a multiple of it, from there on
OBJECTS = 20  # of each image of a batch tried
MOST = 256  # images that are chosen at most: beyond, a step gains little

Learn = Callable[[torch.Tensor, Labels], object]  # images (B, 3, H, W) and their labels


@dataclass(frozen=True)
class StepMemory:
    """Bytes of a training step: `fixed` of any batch, and `per_image` for each of its images."""

    fixed: float
    per_image: float

    @classmethod
    def of_peaks(cls, peaks: dict[int, int]) -> StepMemory:
        """What the peaks (bytes by images) of a small and a larger batch say."""
        (few, low), (many, high) = sorted(peaks.items())
        per_image = max(high - low, 1) / (many - few)
        return cls(fixed=low - few * per_image, per_image=per_image)

    def images_within(self, budget: float) -> int:
        """The largest batch of at most `budget` bytes, 0 if none is: a multiple of 8 from 8 on.

        >>> StepMemory(fixed=100, per_image=10).images_within(420)
        32
        >>> StepMemory(fixed=100, per_image=10).images_within(155)
        5
        """
        images = max(int((budget - self.fixed) / self.per_image), 0)
        return images if images < GRAIN else images // GRAIN * GRAIN


def measure_step(learn: Learn, image_size: tuple[int, int], device: torch.device) -> StepMemory:
    """Learns from two small batches on a GPU and sees what they took.

    Raises:
        torch.OutOfMemoryError: not even they fit.
    """
    return StepMemory.of_peaks({n: _peak(learn, n, image_size, device) for n in PROBES})


def free_bytes(device: torch.device) -> int:
    """What a step may take of a GPU: free memory, and what this process holds and does not use."""
    free, _ = torch.cuda.mem_get_info(device)
    return int(free) + torch.cuda.memory_reserved(device)


def batch_that_fits(
    learn: Learn, image_size: tuple[int, int], device: torch.device, *, kept_free: int = 0
) -> int:
    """The batch to train with on a GPU, with some memory to spare; 0 where not even a few fit.

    Args:
        kept_free: bytes that a run takes and the steps tried do not.
    """
    torch.cuda.empty_cache()
    with contextlib.suppress(torch.OutOfMemoryError):
        memory = measure_step(learn, image_size, device)
        return min(memory.images_within(SHARE * free_bytes(device) - kept_free), MOST)
    return 0


def drawn_labels(images: int, classes: int, image_size: tuple[int, int]) -> Labels:
    """Boxes anywhere in the (height, width) of each image of a batch."""
    generator = torch.Generator().manual_seed(0)
    count, size = images * OBJECTS, torch.tensor([image_size[1], image_size[0]])
    corners = torch.rand(count, 2, generator=generator) * size * 0.7
    sides = torch.rand(count, 2, generator=generator) * size * 0.25 + 4
    row = torch.arange(images).repeat_interleave(OBJECTS)[:, None].float()
    of_class = torch.randint(classes, (count, 1), generator=generator).float()
    return certain(torch.cat([row, of_class, corners, corners + sides], dim=1))


def does_not_fit(strategy: StepStrategy, images: torch.Tensor) -> TrainingError:
    """The error of a step that ran out of a GPU's memory on `images`, with the batch that fits."""
    batch, _, height, width = images.shape
    hint = "a smaller --batch for all processes together, or a smaller --imgsz"
    if not ranks.is_shared():  # alone, as others would wait for the passes tried
        learn = functools.partial(strategy.learn, epoch=0, batch=0)
        fits = batch_that_fits(learn, (height, width), images.device)
        hint = f"--batch {fits} fits" if fits else "a smaller --imgsz, or a smaller model"
    return TrainingError(
        f"{images.device} has not the memory for a step on {batch} images of {width}x{height}",
        hint=hint,
    )


def _peak(learn: Learn, images: int, image_size: tuple[int, int], device: torch.device) -> int:
    """The most bytes that torch held on the GPU during one step."""
    height, width = image_size
    labels = drawn_labels(images, 1, image_size).to(device)
    batch = torch.rand(images, 3, height, width, device=device)
    torch.cuda.reset_peak_memory_stats(device)
    learn(batch.contiguous(memory_format=torch.channels_last), labels)
    return int(torch.cuda.max_memory_allocated(device))
