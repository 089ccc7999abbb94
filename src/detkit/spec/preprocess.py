"""How a picture becomes the network's input: one frozen recipe for eval, calibration and export."""

from __future__ import annotations

from dataclasses import dataclass

from detkit.errors import UsageError
from detkit.spec.arch import check_image_size


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """Letterbox: fit the longest side, pad with `pad_value`, then scale to 0..1 RGB.

    `size` and `fit` are (height, width) in pixels: the picture is resized, aspect kept, to fit
    within `fit`, then padded to `size`. The published YOLO-NAS weights fit 636 within 640. The
    channel order and the scale are the same for every artifact: foreign weights that want BGR or
    0..255 get that folded into their first convolution by `detkit import`.
    """

    size: tuple[int, int] = (640, 640)
    fit: tuple[int, int] = (640, 640)
    pad_value: int = 114
    pad_place: str = "center"  # or "corner": all padding at the bottom and the right
    channel_order: str = "rgb"
    scale: float = 1 / 255

    def __post_init__(self) -> None:
        check_image_size(self.size)
        if any(not 1 <= fit <= size for fit, size in zip(self.fit, self.size, strict=True)):
            raise UsageError(f"preprocess: fit {self.fit} does not lie within size {self.size}")
        if self.pad_place not in ("center", "corner") or not 0 <= self.pad_value <= 255:
            raise UsageError("preprocess: pad_place is center or corner, pad_value 0 to 255")
        if self.channel_order != "rgb" or self.scale != 1 / 255:
            raise UsageError("preprocess: inputs are RGB scaled by 1/255, nothing else")

    def resized(self, size: tuple[int, int]) -> Preprocess:
        """The same recipe at another input size, the margin between fit and size kept."""
        margins = tuple(old - fit for old, fit in zip(self.size, self.fit, strict=True))
        fit = (size[0] - margins[0], size[1] - margins[1])
        return Preprocess(size=size, fit=fit, pad_value=self.pad_value, pad_place=self.pad_place)
