"""An architecture as data: the free choices of a detector, nothing derived.

Source of the first family: super-gradients 3.7.1 (Apache-2.0), YOLO-NAS, Deci AI 2023. The free
choices are those its search varied between S, M and L, so every member and every search result is a
point of this one type. How the parts are wired is the family's (see `nn.families`).
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass

from detkit.core.errors import UsageError, did_you_mean
from detkit.core.serialization import digest_of
from detkit.spec.preprocess import LARGEST_SIDE

FAMILIES = ("yolo-nas", "yolov5", "yolov7", "yolov8", "yolox", "yolox-dfl")
# Family whose own head is run but not trained here -> the same network with the head that is.
TRAINED_AS = {"yolox": "yolox-dfl"}
HEADLESS = ("yolov5",)  # families whose heads are predictors alone, without widths to choose
# By their multiply-adds, the fewest first; deployed, the last three are the same.
BLOCK_KINDS = ("depthwise", "csp", "bottleneck", "lowrank", "conv", "repvgg", "qarepvgg")
KERNELS = (3, 5)
ACTIVATIONS = ("relu", "silu", "hardswish")
STRIDES = (8, 16, 32)
# Beyond what any detector has, and before what no memory holds.
MAX_WIDTH = 8192  # channels
MAX_BLOCKS = 128  # of a stage
MAX_REG_MAX = 256  # strides that a side of a box may be away
MAX_CLASSES = 20_000  # V3Det, the data set with the most, has 13,204


@dataclass(frozen=True, kw_only=True)
class StageSpec:
    """One backbone stage: a stride-2 block to `out` channels, then a CSP layer."""

    out: int
    hidden: int
    blocks: int
    concat: bool = False  # concatenate every intermediate bottleneck, not only the last


@dataclass(frozen=True, kw_only=True)
class NeckSpec:
    """One neck stage (two up, then two down): CSP layer of `blocks` bottlenecks."""

    out: int
    hidden: int
    blocks: int
    concat: bool = False


@dataclass(frozen=True, kw_only=True)
class ArchSpec:
    """The architecture of a detector. `image_size` is (height, width), multiples of 32."""

    name: str
    family: str = "yolo-nas"
    block: str = "qarepvgg"
    kernel: int = 3  # side of the blocks in CSP layers
    activation: str = "relu"
    stem: int = 48
    stages: tuple[StageSpec, ...]
    neck: tuple[NeckSpec, ...]
    head_widths: tuple[int, ...]
    reg_max: int = 16
    num_classes: int = 80
    image_size: tuple[int, int] = (640, 640)

    def __post_init__(self) -> None:
        _check_choice("family", self.family, FAMILIES)
        _check_choice("block", self.block, BLOCK_KINDS)
        if self.kernel not in KERNELS:
            raise UsageError(f"arch: kernel is 3 or 5, not {self.kernel}")
        _check_choice("activation", self.activation, ACTIVATIONS)
        widths = 0 if self.family in HEADLESS else 3
        for field, length in (("stages", 4), ("neck", 4), ("head_widths", widths)):
            if len(getattr(self, field)) != length:
                raise UsageError(f"arch: {field} needs {length} entries")
        stages: tuple[StageSpec | NeckSpec, ...] = (*self.stages, *self.neck)
        widths_used = [width for stage in stages for width in (stage.out, stage.hidden)]
        for what, most, values in (
            ("a width", MAX_WIDTH, [*widths_used, self.stem, *self.head_widths]),
            ("the blocks of a stage", MAX_BLOCKS, [stage.blocks for stage in stages]),
            ("reg_max", MAX_REG_MAX, [self.reg_max]),
            ("num_classes", MAX_CLASSES, [self.num_classes]),
        ):
            outside = [value for value in values if not 1 <= value <= most]
            if outside:
                raise UsageError(
                    f"arch: {what} is 1 to {most}, not {outside[0]}",
                    hint="no detector has more; networks beyond it fit into no memory"
                    if outside[0] > most
                    else "",
                )
        if any(stage.out % 2 for stage in self.neck[2:]):
            raise UsageError("arch: the last two neck stages need an even `out`")
        check_image_size(self.image_size)

    @functools.cached_property
    def digest(self) -> str:
        """16 hex digits over every choice but the name: equal networks, equal digests."""
        return digest_of(dataclasses.replace(self, name=""))

    @property
    def least_weights(self) -> int:
        """A number of weights that the network surely has more of."""
        stages: tuple[StageSpec | NeckSpec, ...] = (*self.stages, *self.neck)
        return sum(stage.out**2 + stage.blocks * stage.hidden**2 for stage in stages) // 4

    @property
    def num_anchors(self) -> int:
        """Anchor points at `image_size`: one for each cell of the three levels."""
        height, width = self.image_size
        return sum((height // stride) * (width // stride) for stride in STRIDES)


def trainable(spec: ArchSpec) -> ArchSpec:
    """The network that is trained where `spec` is asked for: itself, or with another head."""
    if spec.family not in TRAINED_AS:
        return spec
    return dataclasses.replace(spec, family=TRAINED_AS[spec.family], name=f"{spec.name}-dfl")


def check_image_size(image_size: tuple[int, int]) -> None:
    """Raises UsageError unless both sides are positive multiples of 32, and not absurd."""
    height, width = image_size
    if max(image_size) > LARGEST_SIDE:
        raise UsageError(
            f"image size: sides are {LARGEST_SIDE} pixels at most, not {height}x{width}"
        )
    if any(side < 32 or side % 32 for side in image_size):
        raise UsageError(
            f"image size {height}x{width}: both sides must be multiples of 32",
            hint=f"try {max(1, round(height / 32)) * 32}x{max(1, round(width / 32)) * 32}",
        )


def parse_image_size(text: str) -> tuple[int, int]:
    """Reads `"640"` or `"480x640"` (height x width) as (height, width).

    >>> parse_image_size("640"), parse_image_size("480x640")
    ((640, 640), (480, 640))
    """
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.isdecimal() and len(part) < 6 for part in parts):
        raise UsageError(f"image size '{text}': write one number, or HEIGHTxWIDTH")
    size = (int(parts[0]), int(parts[-1]))
    check_image_size(size)
    return size


def _check_choice(field: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UsageError(f"arch: unknown {field} '{value}'", hint=did_you_mean(value, known))
