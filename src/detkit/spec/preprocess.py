"""How an image becomes the network's input: one frozen recipe for eval, calibration and export."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from detkit.core.errors import UsageError

LARGEST_SIDE = 16384  # pixels
RESIZES = ("letterbox", "letterbox-floor", "stretch")


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """Letterbox: fit the longest side, pad with `pad_value`, then scale to 0..1 RGB.

    `size` and `fit` are (height, width) in pixels: the image is resized, aspect kept, to fit
    within `fit`, then padded to `size`. The published YOLO-NAS weights fit 636 within 640. With
    `resize` letterbox-floor the fitted sides are cut to whole pixels, not rounded, and boxes are
    scaled as if they were not, which is YOLOX's. With stretch the image fills `fit`, aspect lost.

    The network is given (pixel * scale - mean) / std, channel by channel in `channel_order`.
    Networks of detkit's own are all `is_native`: published weights that want BGR or 0..255 get that
    folded into their first convolution by `detkit import`. Only graphs of other tools are not.
    """

    size: tuple[int, int] = (640, 640)
    fit: tuple[int, int] = (640, 640)
    pad_value: int = 114
    pad_place: str = "center"  # or "corner": all padding at the bottom and the right
    channel_order: str = "rgb"  # or "bgr"
    scale: float = 1 / 255
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    resize: str = "letterbox"  # or "letterbox-floor", or "stretch"

    def __post_init__(self) -> None:
        if not all(1 <= side <= LARGEST_SIDE for side in self.size):
            raise UsageError(f"preprocess: sides are 1 to {LARGEST_SIDE} pixels, not {self.size}")
        if any(not 1 <= fit <= size for fit, size in zip(self.fit, self.size, strict=True)):
            raise UsageError(f"preprocess: fit {self.fit} does not lie within size {self.size}")
        if self.pad_place not in ("center", "corner") or not 0 <= self.pad_value <= 255:
            raise UsageError("preprocess: pad_place is center or corner, pad_value 0 to 255")
        if self.channel_order not in ("rgb", "bgr") or self.resize not in RESIZES:
            raise UsageError(
                f"preprocess: channel_order is rgb or bgr, resize one of {', '.join(RESIZES)}"
            )
        if min(self.scale, *self.std) <= 0 or not all(map(math.isfinite, self.mean)):
            raise UsageError("preprocess: scale and std are above 0, mean is finite")

    @classmethod
    def filling(cls, size: tuple[int, int]) -> Preprocess:
        """The recipe of a (height, width) without a margin: what networks made here take."""
        return cls(size=size, fit=size)

    @property
    def is_native(self) -> bool:
        """Whether this is what networks of detkit's own take: letterboxed RGB 0..1."""
        pixels = Preprocess()
        scaled = (self.channel_order, self.scale, self.mean, self.std)
        native = (pixels.channel_order, pixels.scale, pixels.mean, pixels.std)
        return scaled == native and self.resize != "stretch"

    @property
    def is_normalised(self) -> bool:
        """Whether a mean is subtracted, or divided by a deviation."""
        return any(self.mean) or any(value != 1 for value in self.std)

    def resized(self, size: tuple[int, int]) -> Preprocess:
        """Gives the same recipe at another input size, the margin between fit and size kept."""
        margins = tuple(old - fit for old, fit in zip(self.size, self.fit, strict=True))
        fit = (size[0] - margins[0], size[1] - margins[1])
        return dataclasses.replace(self, size=size, fit=fit)
