"""Where convolutions read concatenations: their input segments in two networks of one wiring.

A channel of such an input means the same in both networks at the same place of the same segment,
not at the same index. What weight sharing (`nn.supernet.elastic`) and weight transfer
(`nn.transfer`) do with it is theirs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from detkit.nn.blocks import SPP, Conv, CSPLayer
from detkit.nn.neck import DownStage, UpStage
from detkit.nn.plain_blocks import CSPBlock

FAMILY = "yolo-nas"  # the one whose concatenations are known here


@dataclass(frozen=True)
class Segment:
    """One segment: its width, and where it lies in the other network; of width 0 if it does not."""

    width: int
    other_start: int
    other_width: int


def segments_by_weight(network: nn.Module, other: nn.Module) -> dict[str, list[Segment]]:
    """The weights of `network` whose input is a concatenation in both, with its segments."""
    modules = dict(other.named_modules())
    return {
        f"{path}.{unit}.conv.weight": segments
        for path, module in network.named_modules()
        for unit, segments in _concatenated(module, modules.get(path))
    }


def _concatenated(
    module: nn.Module, other: nn.Module | None
) -> Iterator[tuple[str, list[Segment]]]:
    """Yields the convolutions inside `module` that read a concatenation."""
    if isinstance(module, CSPLayer) and isinstance(other, CSPLayer):
        yield "conv3", _csp_segments(module, other)
    elif isinstance(module, SPP) and isinstance(other, SPP):
        yield "cv2", _equal_segments(module.cv1, other.cv1, 4)
    elif isinstance(module, CSPBlock) and isinstance(other, CSPBlock):
        yield "mix", _equal_segments(module.reduce, other.reduce, 2)
    elif isinstance(module, UpStage) and isinstance(other, UpStage):
        yield "reduce_after_concat", _equal_segments(module.conv, other.conv, 3)
    elif isinstance(module, DownStage) and isinstance(other, DownStage):
        half, other_half = _width(module.conv), _width(other.conv)
        for unit in ("blocks.conv1", "blocks.conv2"):
            skip, other_skip = _inputs(module) - half, _inputs(other) - other_half
            yield unit, [Segment(half, 0, other_half), Segment(skip, other_half, other_skip)]


def _csp_segments(layer: CSPLayer, other: CSPLayer) -> list[Segment]:
    """Segments of the steps along the bottlenecks, then of the path beside them.

    A step keeps its position where the other layer concatenates; where it does not, there is only
    the last step, whichever that is.
    """
    last, width, other_width = len(layer.bottlenecks), _width(layer.conv1), _width(other.conv1)

    def segment(position: int | None) -> Segment:
        known = position is not None
        return Segment(width, (position or 0) * other_width, other_width if known else 0)

    def position(step: int) -> int | None:
        if other.concat:
            return step if step <= len(other.bottlenecks) else None
        return 0 if step == last else None

    steps = range(last + 1) if layer.concat else (last,)
    beside = len(other.bottlenecks) + 1 if other.concat else 1
    return [*(segment(position(step)) for step in steps), segment(beside)]


def _equal_segments(unit: Conv, other: Conv, count: int) -> list[Segment]:
    return [Segment(_width(unit), i * _width(other), _width(other)) for i in range(count)]


def _width(unit: Conv) -> int:
    return unit.conv.out_channels


def _inputs(stage: DownStage) -> int:
    return stage.blocks.conv1.conv.in_channels
