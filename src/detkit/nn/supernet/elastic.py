"""One set of weights for a whole search space: every smaller network is a subnet of the largest.

A subnet takes the leading channels of every tensor and the leading blocks of every stage. Inputs
that are concatenations are taken segment by segment, so that a channel means the same in every
network. One map, from the tensors of a network to windows of the shared ones, serves running,
extracting and warm starts. Weight sharing by slices: Cai et al., Once-for-All, ICLR 2020, arXiv
1908.09791; Yu et al., BigNAS, ECCV 2020, arXiv 2003.11142.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.func import functional_call

from detkit.core.errors import UsageError
from detkit.nn.checkpoint import assign_strictly
from detkit.nn.concatenation import FAMILY, segments_by_weight
from detkit.nn.detector import Detector, build_detector
from detkit.nn.synced_norm import is_synced, sync_batch_norms
from detkit.spec.arch import ArchSpec
from detkit.spec.space import SearchSpace

ChannelRange = tuple[int, int]  # first channel, number of channels
INELASTIC = ("family", "block", "kernel", "activation", "reg_max")  # what no subnet can change


def require_elastic(space: SearchSpace) -> None:
    """Raises UsageError for a space whose networks cannot share weights by slices."""
    if space.base.family != FAMILY:
        raise UsageError(
            f"space {space.name}: a supernet shares weights within {FAMILY}, not"
            f" {space.base.family}"
        )
    varied = [field for field in INELASTIC if field in space.knobs]
    if varied:
        raise UsageError(
            f"space {space.name}: a supernet cannot share weights across {', '.join(varied)}",
            hint="fix it in the space's base: --space yolo-nas does, or a JSON file of yours",
        )


class Elastic:
    """Runs and extracts the networks whose weights are slices of those of `supernet`.

    Raises:
        UsageError: on use, for a network that is not within it.
    """

    def __init__(self, supernet: Detector) -> None:
        self.supernet = supernet

    def __call__(self, images: Tensor, spec: ArchSpec) -> tuple[Tensor, Tensor]:
        """Outputs of the network of `spec`, in the mode (training, eval) of the supernet.

        Gradients reach the shared weights; the supernet keeps its batch-norm statistics.
        """
        tensors = self.subnet_tensors(spec)
        for name, _ in _skeleton(_sizeless(spec)).named_buffers():
            tensors[name] = tensors[name].clone()
        synced = is_synced(self.supernet)
        skeleton = _skeleton(_sizeless(spec), synced=synced).train(self.supernet.training)
        out: tuple[Tensor, Tensor] = functional_call(skeleton, tensors, (images,), strict=True)
        return out

    def subnet_tensors(self, spec: ArchSpec) -> dict[str, Tensor]:
        """Tensors of a subnet by name: views of the shared ones where that is possible."""
        return {name: _joined(windows) for name, windows in self._windows(spec)}

    def extract(self, spec: ArchSpec) -> Detector:
        """A network of its own, in training form, with copies of the shared tensors."""
        model = copy.deepcopy(_skeleton(_sizeless(spec)))
        model.spec = spec
        copies = {n: t.detach().clone().contiguous() for n, t in self.subnet_tensors(spec).items()}
        assign_strictly(model, copies, where=spec.name)
        return model.train(self.supernet.training)

    @torch.no_grad()
    def load_subnet(self, subnet: Detector) -> None:
        """Overwrites the shared tensors of a subnet by its own weights: a warm start."""
        source = subnet.state_dict()
        for name, windows in self._windows(subnet.spec):
            if len(windows) == 1:
                windows[0].copy_(source[name])
                continue
            widths = [window.shape[1] for window in windows]
            for window, piece in zip(windows, source[name].split(widths, dim=1), strict=True):
                window.copy_(piece)

    def _windows(self, spec: ArchSpec) -> Iterator[tuple[str, list[Tensor]]]:
        """Yields names with views of the shared tensors, one a range of input channels."""
        shared = dict(self.supernet.named_parameters()) | dict(self.supernet.named_buffers())
        wanted = _sizeless(spec)
        _check_within(wanted, self.supernet)
        ranges = _ranges(wanted, _sizeless(self.supernet.spec))
        for name, tensor in _skeleton(wanted).state_dict().items():
            yield name, _windows_of(shared[name], tensor.shape, ranges.get(name, ()))


def _windows_of(
    shared: Tensor, shape: torch.Size, ranges: tuple[ChannelRange, ...]
) -> list[Tensor]:
    """Views of the leading `shape` of `shared`; along axis 1 of the `ranges`, if any."""
    for axis, size in enumerate(shape):
        if axis != 1 or not ranges:
            shared = shared.narrow(axis, 0, size)
    return [shared.narrow(1, start, width) for start, width in ranges] or [shared]


def _joined(windows: list[Tensor]) -> Tensor:
    return windows[0] if len(windows) == 1 else torch.cat(windows, dim=1)


def _sizeless(spec: ArchSpec) -> ArchSpec:
    """A spec without name and image size, on which its tensors do not depend."""
    return dataclasses.replace(spec, name="", image_size=(32, 32))


@functools.lru_cache(maxsize=16)  # hundreds of modules each, and random networks do not come back
def _skeleton(spec: ArchSpec, *, synced: bool = False) -> Detector:
    """Builds the modules of a network without weights; `synced` as in `nn.synced_norm`."""
    model = build_detector(spec, "training")
    if synced:
        sync_batch_norms(model)
    return model


def _check_within(spec: ArchSpec, supernet: Detector) -> None:
    """Raises UsageError unless each tensor of the network is part of one of the supernet."""
    shared = supernet.state_dict()
    same = [getattr(spec, field) == getattr(supernet.spec, field) for field in INELASTIC]
    layers = zip(_concat_flags(spec), _concat_flags(supernet.spec), strict=True)
    fits = all(same) and all(large or not small for small, large in layers)
    for name, tensor in _skeleton(spec).state_dict().items():
        bounds = shared[name].shape if name in shared else torch.Size([0] * tensor.ndim)
        fits = fits and all(a <= b for a, b in zip(tensor.shape, bounds, strict=True))
    if not fits:
        raise UsageError(f"{spec.name or spec.digest} is not within the supernet's largest network")


def _concat_flags(spec: ArchSpec) -> list[bool]:
    return [stage.concat for stage in spec.stages] + [stage.concat for stage in spec.neck]


# --- inputs that are concatenations --------------------------------------------------------------


@functools.lru_cache(maxsize=16)
def _ranges(spec: ArchSpec, supernet: ArchSpec) -> dict[str, tuple[ChannelRange, ...]]:
    """Weight -> ranges of the supernet's input channels that it takes, neighbours merged."""
    found = segments_by_weight(_skeleton(spec), _skeleton(supernet))
    return {
        name: _merged([(segment.other_start, segment.width) for segment in segments])
        for name, segments in found.items()
    }


def _merged(ranges: list[ChannelRange]) -> tuple[ChannelRange, ...]:
    merged = ranges[:1]
    for start, width in ranges[1:]:
        first, length = merged[-1]
        if start == first + length:
            merged[-1] = (first, length + width)
        else:
            merged.append((start, width))
    return tuple(merged)
