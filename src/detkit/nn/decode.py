"""From raw maps to boxes in pixels: anchor points, and the sides of boxes seen from them.

What a family's own outputs mean is in `nn.families`. Legend: B batch, A anchor points.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from detkit.nn.detector import Detector
from detkit.spec.arch import STRIDES


def anchor_points(image_size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Cell centres (A, 2) as x, y in cells, and the stride (A, 1) in pixels of each.

    Row-major within a level, levels of stride 8, 16, 32 one after the other.
    """
    points, strides = [], []
    for stride in STRIDES:
        height, width = image_size[0] // stride, image_size[1] // stride
        y, x = torch.meshgrid(
            torch.arange(height, dtype=torch.float32) + 0.5,
            torch.arange(width, dtype=torch.float32) + 0.5,
            indexing="ij",
        )
        points.append(torch.stack([x, y], dim=-1).reshape(-1, 2))
        strides.append(torch.full((height * width, 1), float(stride)))
    return torch.cat(points), torch.cat(strides)


def boxes_from_distances(points_a2: Tensor, distances_ba4: Tensor) -> Tensor:
    """Boxes xyxy (B, A, 4) in the unit of the points."""
    left_top, right_bottom = distances_ba4.chunk(2, dim=-1)
    return torch.cat([points_a2 - left_top, points_a2 + right_bottom], dim=-1)


class Predictor(nn.Module):
    """The exported contract: images (B, 3, H, W) in 0..1 -> boxes in pixels and scores.

    Boxes are (B, A, 4) xyxy and not clipped, scores (B, A, C) after the sigmoid. One input size.
    """

    points: Tensor
    strides: Tensor

    def __init__(self, detector: Detector, image_size: tuple[int, int]) -> None:
        super().__init__()
        self.detector = detector
        points, strides = anchor_points(image_size)
        self.register_buffer("points", points, persistent=False)
        self.register_buffer("strides", strides, persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        logits, regression = self.detector(images)
        boxes = boxes_from_distances(self.points, self.detector.distances(regression))
        return boxes * self.strides, self.detector.scores(logits)
