from __future__ import annotations

import math

import pytest

from detkit.core.errors import UsageError
from detkit.nn.detector import Cost, cost_of
from detkit.search.scoring.proxy import PROXIES, find_proxy
from detkit.spec.zoo import ZOO, with_task


@pytest.fixture(scope="module")
def costs() -> dict[str, Cost]:
    return {
        name: cost_of(with_task(ZOO[name], 3, (64, 64))) for name in ("yolo-nas-p", "yolo-nas-n")
    }


@pytest.mark.parametrize("name", PROXIES)
def test_larger_member_of_the_family_scores_higher_and_the_same_twice(
    name: str, costs: dict[str, Cost]
) -> None:
    small, large = (
        PROXIES[name](with_task(ZOO[model], 3, (64, 64)), cost, 0) for model, cost in costs.items()
    )
    assert math.isfinite(small)
    assert large > small
    again = PROXIES[name](with_task(ZOO["yolo-nas-p"], 3, (64, 64)), costs["yolo-nas-p"], 0)
    assert again == pytest.approx(small)


def test_unknown_proxy_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown proxy 'zeno'"):
        find_proxy("zeno")
