"""Mixtures of the networks of a supernet, differentiable by the share that each choice has.

A narrower width is a mask over the channels that the next convolution reads, a missing block is
one whose output is scaled by zero, so a mixture of choices is a weighted mean of masks and takes
one run of the largest network. With batch statistics (training mode) a mixture of one choice a knob
gives what that network gives. Channel masks for a search by gradients: Wan et al., FBNetV2, CVPR
2020, arXiv 2004.05565. The image size is not mixed here: a run has one size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from detkit.core.errors import UsageError
from detkit.core.serialization import to_plain
from detkit.nn.blocks import CSPLayer
from detkit.nn.detector import Detector
from detkit.nn.qarep import QARepVGGBlock, RepVGGBlock
from detkit.spec.space import SearchSpace, Value

Mixture = Mapping[str, Tensor]  # knob -> (V,) shares of its values, which sum to 1


BLOCK_KINDS = ("qarepvgg", "repvgg", "conv")  # those that read all channels at once


def require_relaxable(space: SearchSpace) -> None:
    """Raises UsageError for a space whose networks cannot be mixed by masks."""
    if space.base.block not in BLOCK_KINDS:
        raise UsageError(
            f"space {space.name}: the gradient searcher cannot mix networks of {space.base.block}",
            hint=f"it can mix those of {', '.join(BLOCK_KINDS)}; other searchers take every block",
        )


@dataclass(frozen=True)
class Choice:
    """The values that one number of the architecture may take, and the share of each."""

    values: Tensor  # (V,)
    shares: Tensor  # (V,)

    def mask(self) -> Tensor:
        """The mask (C,): for each channel the share of the networks that have it."""
        channels = torch.arange(int(self.values.max()), device=self.values.device)
        return self.shares @ (channels < self.values[:, None]).to(self.shares)

    def halved(self) -> Choice:
        return Choice(self.values // 2, self.shares)

    def at_least(self, count: int) -> Tensor:
        return self.shares[self.values >= count].sum()

    def exactly(self, count: int) -> Tensor:
        return self.shares[self.values == count].sum()


class Relaxed:
    """Runs mixtures of the networks of `space` whose weights are slices of those of `supernet`."""

    def __init__(self, supernet: Detector, space: SearchSpace) -> None:
        self.supernet, self.space = supernet, space

    def __call__(self, images: Tensor, mixture: Mixture) -> tuple[Tensor, Tensor]:
        """Raw outputs of a mixture; the supernet keeps its batch-norm statistics."""
        tensors = self.weights(mixture)
        tensors |= {name: buffer.clone() for name, buffer in self.supernet.named_buffers()}
        out: tuple[Tensor, Tensor] = functional_call(self.supernet, tensors, (images,), strict=True)
        return out

    def weights(self, mixture: Mixture) -> dict[str, Tensor]:
        """The parameters of the supernet, masked."""
        masks = _Masks(self.supernet, self._choices(mixture))
        tensors: dict[str, Tensor] = dict(self.supernet.named_parameters())
        for path, mask_c in masks.inputs():
            module = self.supernet.get_submodule(path)
            axis = 0 if isinstance(module, nn.ConvTranspose2d) else 1
            shape = [1] * axis + [-1] + [1] * (3 - axis)
            for name, parameter in module.named_parameters(prefix=path):
                if parameter.ndim == 4:
                    tensors[name] = parameter * mask_c.reshape(shape)
        for path, share in masks.bottlenecks():
            tensors[f"{path}.alpha"] = share * tensors[f"{path}.alpha"] + (1 - share)
            for norm in _last_norms(self.supernet.get_submodule(f"{path}.cv2")):
                for part in ("weight", "bias"):
                    name = f"{path}.cv2.{norm}.{part}"
                    tensors[name] = tensors[name] * share
        return tensors

    def _choices(self, mixture: Mixture) -> dict[str, Choice]:
        """Choices by the path of a number in the ArchSpec; one value where no knob varies it."""
        device = next(self.supernet.parameters()).device
        one = torch.ones(1, device=device)
        fixed = _numbers(to_plain(self.space.base), "")
        found = {path: Choice(torch.tensor([v], device=device), one) for path, v in fixed.items()}
        for knob, values in self.space.knobs.items():
            parts = [_parts(knob, value) for value in values]
            for path in parts[0]:
                column = torch.tensor([int(part[path]) for part in parts], device=device)
                found[path] = Choice(column, mixture[knob])
        return found


def _numbers(plain: object, path: str) -> dict[str, int]:
    """Finds every whole number within nested lists and dicts, by its path."""
    if isinstance(plain, (int, bool)):
        return {path: int(plain)}
    items: list[tuple[object, object]] = []
    if isinstance(plain, dict):
        items = list(plain.items())
    elif isinstance(plain, (list, tuple)):
        items = list(enumerate(plain))
    nested = (_numbers(item, f"{path}.{key}".lstrip(".")) for key, item in items)
    return {name: number for found in nested for name, number in found.items()}


def _parts(knob: str, value: Value) -> dict[str, int]:
    """The numbers that one value of a knob sets; a star stands for each entry of a list."""
    if "*" in knob and isinstance(value, tuple):
        return {knob.replace("*", str(i)): int(item) for i, item in enumerate(value)}
    return _numbers(value, knob)


def _last_norms(unit: nn.Module) -> tuple[str, ...]:
    """The batch-norms whose scales and shifts multiply all that reaches the activation."""
    if isinstance(unit, QARepVGGBlock):
        return ("post_bn",)
    if isinstance(unit, RepVGGBlock):
        return ("branch_3x3.bn", "branch_1x1.bn", "branch_identity")
    return ("bn",)


class _Masks:
    """Which channels each convolution reads, and which bottlenecks there are."""

    def __init__(self, supernet: Detector, choices: Mapping[str, Choice]) -> None:
        self.supernet, self.choices = supernet, choices

    def width(self, path: str) -> Tensor:
        return self.choices[path].mask()

    def inputs(self) -> Iterator[tuple[str, Tensor]]:
        """Yields paths of modules, and the mask of the channels that their convolutions read."""
        widths = ["stem", *(f"stages.{i}.out" for i in range(4))]
        c2, c3, c4, c5 = map(self.width, widths[1:])
        for i in range(4):
            stage = f"backbone.stage{i + 1}"
            yield f"{stage}.downsample", self.width(widths[i])
            yield from self._csp(f"{stage}.blocks", f"stages.{i}", self.width(widths[i + 1]))
        yield "backbone.context_module.cv1", c5
        yield "backbone.context_module.cv2", self.choices[widths[4]].halved().mask().repeat(4)
        outs = [self.width(f"neck.{i}.out") for i in range(4)]
        yield from self._up("neck.neck1", "neck.0", outs[0], (c5, c4, c3))
        yield from self._up("neck.neck2", "neck.1", outs[1], (outs[0], c3, c2))
        yield from self._down("neck.neck3", "neck.2", outs[1], skip=outs[1])
        yield from self._down("neck.neck4", "neck.3", outs[2], skip=outs[0])
        for i, feature in enumerate(outs[1:]):
            yield f"heads.head{i + 1}.stem", feature
            for part in ("cls_convs", "cls_pred", "reg_convs", "reg_pred"):
                yield f"heads.head{i + 1}.{part}", self.width(f"head_widths.{i}")

    def bottlenecks(self) -> Iterator[tuple[str, Tensor]]:
        """Yields the path of each bottleneck, and the share of the networks that have it."""
        for part in ("stages", "neck"):
            for i in range(4):
                path = _csp_path(part, i)
                layer = self.supernet.get_submodule(path)
                assert isinstance(layer, CSPLayer)
                for j in range(len(layer.bottlenecks)):
                    share = self.choices[f"{part}.{i}.blocks"].at_least(j + 1)
                    yield f"{path}.bottlenecks.{j}", share

    def _csp(self, path: str, field: str, read: Tensor) -> Iterator[tuple[str, Tensor]]:
        layer = self.supernet.get_submodule(path)
        assert isinstance(layer, CSPLayer)
        hidden, blocks = self.width(f"{field}.hidden"), self.choices[f"{field}.blocks"]
        yield f"{path}.conv1", read
        yield f"{path}.conv2", read
        for j in range(len(layer.bottlenecks)):
            yield f"{path}.bottlenecks.{j}.cv1", hidden
            yield f"{path}.bottlenecks.{j}.cv2", hidden
        steps = [hidden]
        if layer.concat:
            all_steps = self.choices[f"{field}.concat"].exactly(1)
            shares = [
                all_steps * blocks.at_least(j) + (1 - all_steps) * blocks.exactly(j)
                for j in range(len(layer.bottlenecks) + 1)
            ]
            steps = [share * hidden for share in shares]
        yield f"{path}.conv3", torch.cat([*steps, hidden])

    def _up(
        self, path: str, field: str, out: Tensor, read: tuple[Tensor, Tensor, Tensor]
    ) -> Iterator[tuple[str, Tensor]]:
        for unit, mask in zip(("conv", "reduce_skip1", "reduce_skip2"), read, strict=True):
            yield f"{path}.{unit}", mask
        yield f"{path}.upsample", out
        yield f"{path}.downsample", out
        yield f"{path}.reduce_after_concat", out.repeat(3)
        yield from self._csp(f"{path}.blocks", field, out)

    def _down(
        self, path: str, field: str, read: Tensor, *, skip: Tensor
    ) -> Iterator[tuple[str, Tensor]]:
        yield f"{path}.conv", read
        half = self.choices[f"{field}.out"].halved().mask()
        yield from self._csp(f"{path}.blocks", field, torch.cat([half, skip]))


def _csp_path(part: str, index: int) -> str:
    stage = f"backbone.stage{index + 1}" if part == "stages" else f"neck.neck{index + 1}"
    return f"{stage}.blocks"
