from __future__ import annotations

import dataclasses
import itertools
import math

import pytest

from detkit.core.errors import UsageError
from detkit.nn.detector import cost_of
from detkit.profile.sampling import choose_networks
from detkit.spec.space import SPACES

TINY = SPACES["tiny"].for_task(3, (64, 64))


def test_both_ends_are_there_and_no_network_twice() -> None:
    chosen = choose_networks(TINY, 16, seed=0)
    digests = {spec.digest for spec in chosen}
    assert len(digests) == 16
    for point in (TINY.smallest_point(), TINY.largest_point()):
        assert TINY.to_arch(point).digest in digests


def test_macs_are_spread_from_end_to_end() -> None:
    macs = sorted(math.log(cost_of(spec).macs) for spec in choose_networks(TINY, 24, seed=1))
    low, high = macs[0], macs[-1]
    thirds = [low + (high - low) * third / 3 for third in range(4)]
    counts = [sum(a <= m <= b for m in macs) for a, b in itertools.pairwise(thirds)]
    assert min(counts) >= 4


def test_draw_is_the_same_for_the_same_seed() -> None:
    assert choose_networks(TINY, 9, seed=3) == choose_networks(TINY, 9, seed=3)
    assert choose_networks(TINY, 9, seed=3) != choose_networks(TINY, 9, seed=4)


def test_whole_space_can_be_taken() -> None:
    few = {name: TINY.knobs[name] for name in ("stem", "stages.1.hidden", "stages.2.blocks")}
    space = dataclasses.replace(TINY, knobs=few)
    assert len({spec.digest for spec in choose_networks(space, 12, seed=0)}) == 12


@pytest.mark.parametrize("count", [7, 145])
def test_count_that_makes_no_sense_is_refused(count: int) -> None:
    with pytest.raises(UsageError, match="allows 8 to 144"):
        choose_networks(TINY, count, seed=0)
