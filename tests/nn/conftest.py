"""Networks small enough to run in milliseconds."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable

import pytest
import torch
from torch import nn

from detkit.nn.blocks import Bottleneck
from detkit.nn.checkpoint import new_detector
from detkit.nn.detector import Detector
from detkit.nn.supernet.elastic import Elastic
from detkit.spec.arch import ArchSpec
from detkit.spec.space import SPACES, SearchSpace
from detkit.spec.zoo import ZOO, with_task


def randomize(module: nn.Module, seed: int = 0) -> None:
    """Batch-norm statistics and scales as training leaves them, not as initialised."""
    generator = torch.Generator().manual_seed(seed)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            assert layer.running_mean is not None
            assert layer.running_var is not None
            for tensor, low in ((layer.running_var, 0.3), (layer.weight, 0.5)):
                tensor.data = low + torch.rand(tensor.shape, generator=generator)
            for tensor in (layer.running_mean, layer.bias):
                tensor.data = 0.4 * torch.randn(tensor.shape, generator=generator)


@pytest.fixture
def tiny() -> Detector:
    """yolo-nas-p of 3 classes at 64 px, with batch-norms as after training."""
    model = new_detector(with_task(ZOO["yolo-nas-p"], 3, (64, 64)), seed=0)
    randomize(model)
    return model.eval()


# --- spaces whose networks share weights ---------------------------------------------------------

PLAIN = SearchSpace(  # no stage concatenates, so its last step is the one that is mixed
    name="plain",
    base=ZOO["yolo-nas-p"],
    knobs={
        "stages.0.out": (12, 24),
        "stages.2.blocks": (1, 2, 3),
        "stages.2.hidden": (20, 32),
        "neck.*.out": ((24, 16, 24, 32), (48, 32, 48, 64)),
        "neck.3.blocks": (1, 2),
    },
)
WIDE = SearchSpace(  # everything that the space yolo-nas varies, in small
    name="wide",
    base=ZOO["yolo-nas-p"],
    knobs={
        "stem": (8, 16),
        **{f"stages.{i}.out": (12 + 8 * i, 24 + 8 * i) for i in range(4)},
        **{f"stages.{i}.hidden": (8, 12, 16) for i in range(4)},
        **{f"stages.{i}.blocks": (1, 2, 3) for i in range(4)},
        **{f"stages.{i}.concat": (False, True) for i in range(4)},
        "neck.*.out": ((24, 32, 20, 32), (48, 16, 48, 64)),  # neither holds the other
        **{f"neck.{i}.hidden": (8, 16) for i in range(4)},
        **{f"neck.{i}.blocks": (1, 2) for i in range(4)},
        "head_widths": ((16, 24, 32), (24, 16, 40)),
    },
)
REPVGG = SearchSpace(
    name="repvgg",
    base=dataclasses.replace(ZOO["yolo-nas-p"], block="repvgg", activation="silu"),
    knobs={"stages.1.hidden": (16, 24), "stages.2.blocks": (1, 2)},
)
SHARING = {
    space.name: space.for_task(3, (64, 64)) for space in (PLAIN, WIDE, REPVGG, SPACES["tiny"])
}


@pytest.fixture(params=list(SHARING))
def space(request: pytest.FixtureRequest) -> SearchSpace:
    return SHARING[request.param]


@pytest.fixture
def wide() -> SearchSpace:
    return SHARING["wide"]


@pytest.fixture
def draw_specs() -> Callable[[SearchSpace, int], list[ArchSpec]]:
    """Both ends of a space, and random networks between them."""

    def draw(space: SearchSpace, count: int) -> list[ArchSpec]:
        rng = random.Random(0)
        drawn = [{k: rng.choice(values) for k, values in space.knobs.items()} for _ in range(count)]
        last = {path: values[-1] for path, values in space.knobs.items()}
        return [space.to_arch(point) for point in (space.smallest_point(), last, *drawn)]

    return draw


@pytest.fixture
def make_elastic() -> Callable[[SearchSpace], Elastic]:
    """A supernet whose weights and statistics tell channels apart."""

    def make(space: SearchSpace) -> Elastic:
        whole = new_detector(space.largest_arch(), 0)
        randomize(whole)
        generator = torch.Generator().manual_seed(1)
        for module in whole.modules():
            if isinstance(module, Bottleneck):
                module.alpha.data.uniform_(0.5, 1.5, generator=generator)
        return Elastic(whole)

    return make


@pytest.fixture
def difference() -> Callable[..., float]:
    """Of two pairs of outputs, the largest."""

    def largest(a: tuple[torch.Tensor, ...], b: tuple[torch.Tensor, ...]) -> float:
        return max(float((x - y).abs().max()) for x, y in zip(a, b, strict=True))

    return largest
