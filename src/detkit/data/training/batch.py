"""One training batch: images as bytes until they are on the device that learns from them.

There they become floats of the colours that the augmentation drew.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from detkit.data.training.labels import Labels

PIXELS_AT_ONCE = 4  # by one matrix product: longer rows, of which some are zeros, are faster


@dataclass(frozen=True)
class Batch:
    """Images and their labels.

    pixels (B, H, W, 3) uint8 RGB; colours (B, 3, 3) float32 are what their RGB rows are multiplied
    by.
    """

    pixels: Tensor
    colours: Tensor
    labels: Labels

    def images_on(self, device: torch.device) -> Tensor:
        """The images (B, 3, H, W) float32 0..1 RGB on a device, in channels_last."""
        pixels, colours = (t.to(device, non_blocking=True) for t in (self.pixels, self.colours))
        batch, height, width, _ = pixels.shape
        group = math.gcd(height * width, PIXELS_AT_ONCE)
        rows = torch.empty(batch, height * width // group, 3 * group, device=device)
        factors = _repeated(colours / 255, group)
        at_once = 1 if device.type == "cpu" else batch  # on the CPU an image stays in its cache
        with _one_thread():
            for start in range(0, batch, at_once):
                some = slice(start, start + at_once)
                shares = pixels[some].reshape(-1, *rows.shape[1:]).float()
                torch.bmm(shares, factors[some], out=rows[some]).clamp_(0, 1)
        return rows.view(batch, height, width, 3).permute(0, 3, 1, 2)


def _repeated(matrices: Tensor, times: int) -> Tensor:
    """Each of (B, n, m) `times` times along a diagonal of zeros: (B, times * n, times * m)."""
    batch, n, m = matrices.shape
    blocks = torch.eye(times, device=matrices.device)[:, None, :, None] * matrices[:, None, :, None]
    return blocks.reshape(batch, times * n, times * m)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Computes in this thread alone: threads would wait for the cores that workers have."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
