"""What a batch says about its images: boxes, how sure they are, and which classes it speaks of.

Labels of several data sets in one batch are each complete for their own classes only, and a mosaic
puts images of different sets side by side. So what is known is kept by place: a coarse map of each
image gives the label set of every cell, and a table the classes that each label set speaks of.

Legend: B batch, N boxes, L layers (two where images were blended), S label sets, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Labels:
    """The labels of a batch.

    boxes (N, 6) float32: image index, class, x1, y1, x2, y2 in pixels. scores (N,) float32: 1 for a
    box that is certain, less for one that a model drew. sets (B, L, h, w) int64 indexes the rows of
    known (S, C) bool by place; both are None where every class is labelled everywhere.
    """

    boxes: Tensor
    scores: Tensor
    sets: Tensor | None = None
    known: Tensor | None = None

    def to(self, device: torch.device) -> Labels:
        """Moves the labels to a device."""
        return Labels(
            boxes=self.boxes.to(device),
            scores=self.scores.to(device),
            sets=None if self.sets is None else self.sets.to(device),
            known=None if self.known is None else self.known.to(device),
        )

    def scaled(self, x: float, y: float) -> Labels:
        """Scales the labels along with their images, wider by `x` and taller by `y`."""
        boxes = self.boxes * self.boxes.new_tensor([1, 1, x, y, x, y])
        return Labels(boxes=boxes, scores=self.scores, sets=self.sets, known=self.known)

    def known_at(self, points_a2: Tensor, image_size: tuple[int, int]) -> Tensor | None:
        """Which classes are labelled at points x, y in pixels: (B, A, C) bool; None if all are.

        Where images were blended, those that both of them speak of.
        """
        if self.sets is None or self.known is None:
            return None
        height, width = self.sets.shape[2:]
        share = points_a2 / points_a2.new_tensor([image_size[1], image_size[0]])
        column = (share[:, 0] * width).long().clamp(0, width - 1)
        row = (share[:, 1] * height).long().clamp(0, height - 1)
        return self.known[self.sets[:, :, row, column]].all(dim=1)


def certain(boxes_n6: Tensor) -> Labels:
    """Labels whose boxes (N, 6) are all certain and complete."""
    return Labels(boxes=boxes_n6, scores=torch.ones(len(boxes_n6), device=boxes_n6.device))
