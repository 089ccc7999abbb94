"""Weights of a trained network for another one: the same network, or a near one of its wiring.

Tensors are matched by name, which in one family is by position, and copied over the channels that
both have, the first ones. Channels that only the new network has keep their fresh weights, and no
copied channel reads them at first: a wider network begins with what the trained one computes
(after Net2Net, Chen et al., arXiv 1511.05641). Inputs that are concatenations are matched segment
by segment. Class predictors are matched row by row, by the names of classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from detkit.nn.concatenation import FAMILY, Segment, segments_by_weight
from detkit.nn.detector import Detector, build_detector
from detkit.spec.arch import ArchSpec
from detkit.spec.space import same_network

CLASS_PREDICTOR = ".cls_pred."
PREDICTORS = (CLASS_PREDICTOR, ".reg_pred.")  # that mean another thing in another family's head
SAME = ("family", "block", "kernel", "activation", "reg_max")  # what weights cannot cross
Span = tuple[int, int, int]  # first channel here, first channel there, number of channels


@dataclass(frozen=True)
class Transfer:
    """What was taken: a share of the weights, class predictors aside, and classes by name."""

    share: float
    classes: int


def can_transfer(source: ArchSpec, target: ArchSpec) -> bool:
    """Whether weights of `source` mean something in `target`: one network, or one wiring."""
    if same_network(source, target):
        return True
    alike = all(getattr(source, name) == getattr(target, name) for name in SAME)
    return alike and source.family == FAMILY


@torch.no_grad()
def transfer(
    source: Detector,
    source_names: Sequence[str],
    target: Detector,
    target_names: Sequence[str],
) -> Transfer:
    """Copies into `target` what `source` knows of it; both are in training form.

    The classes that only `target` has keep their fresh predictors. Of another family, whose head
    predicts other things, no predictors are copied.
    """
    known = source.state_dict()
    same_head = source.spec.family == target.spec.family
    if not same_head:
        source_names = ()
        known = {n: t for n, t in known.items() if not any(part in n for part in PREDICTORS)}
    segments = segments_by_weight(target, source)
    inputs_first = {
        f"{path}.weight"
        for path, module in target.named_modules()
        if isinstance(module, nn.ConvTranspose2d)
    }
    classes = [
        (i, list(source_names).index(name), 1)
        for i, name in enumerate(target_names)
        if name in source_names
    ]
    total = taken = 0
    for name, tensor in target.state_dict().items():
        total += tensor.numel() if _counts(name, tensor) else 0
        if name not in known or known[name].ndim != tensor.ndim:
            continue
        copied = _copy(
            known[name],
            tensor,
            outputs=classes if CLASS_PREDICTOR in name else None,
            inputs=segments.get(name),
            input_axis=0 if name in inputs_first else 1,
        )
        taken += copied if _counts(name, tensor) else 0
    return Transfer(share=taken / total, classes=len(classes))


def overlap_of(source: ArchSpec, target: ArchSpec) -> float:
    """The weights that both networks have, as a share of those that either has; 1 for the same one.

    0 where weights cannot be transferred.
    """
    if same_network(source, target):
        return 1.0
    if not can_transfer(source, target):
        return 0.0
    networks = build_detector(source, "training"), build_detector(target, "training")
    here, there = map(_num_weights, networks)
    common = transfer(networks[0], (), networks[1], ()).share * there
    return common / (here + there - common)


def _num_weights(network: Detector) -> int:
    tensors = network.state_dict().items()
    return sum(tensor.numel() for name, tensor in tensors if _counts(name, tensor))


def _counts(name: str, tensor: Tensor) -> bool:
    """Whether a tensor counts as weights: numbers that are learned, class predictors aside."""
    return tensor.is_floating_point() and CLASS_PREDICTOR not in name


def _copy(
    source: Tensor,
    target: Tensor,
    *,
    outputs: list[Span] | None,
    inputs: list[Segment] | None,
    input_axis: int,
) -> int:
    """Copies the channels that both have; returns how many elements."""
    if target.ndim == 0:
        target.copy_(source)
        return 1
    if target.ndim == 1:
        spans = outputs if outputs is not None else _leading(target.shape[0], source.shape[0])
        for here, there, count in spans:
            target.narrow(0, here, count).copy_(source.narrow(0, there, count))
        return sum(count for _, _, count in spans)
    output_axis = 1 - input_axis
    rows = outputs
    if rows is None:
        rows = _leading(target.shape[output_axis], source.shape[output_axis])
    columns = (
        _leading(target.shape[input_axis], source.shape[input_axis])
        if inputs is None
        else list(_spans(inputs))
    )
    copied = 0
    for here, there, count in rows:
        mine = target.narrow(output_axis, here, count).zero_()
        theirs = source.narrow(output_axis, there, count)
        for at, other_at, width in columns:
            part = mine.narrow(input_axis, at, width)
            part.copy_(theirs.narrow(input_axis, other_at, width))
            copied += part.numel()
    return copied


def _leading(here: int, there: int) -> list[Span]:
    return [(0, 0, min(here, there))]


def _spans(segments: list[Segment]) -> Iterator[Span]:
    start = 0
    for segment in segments:
        count = min(segment.width, segment.other_width)
        if count:
            yield start, segment.other_start, count
        start += segment.width
