from __future__ import annotations

import pytest

from detkit.engines.opening import open_session
from detkit.runtime.session import Placement
from detkit.timing.cpu_time import clock_name, measure_session


def test_measure_session_gives_the_least_time_and_the_spread(cell_model):
    placement = Placement(threads=1)
    seen = measure_session(open_session(cell_model(), placement=placement), placement=placement)
    assert 0 < seen.least_ms <= seen.p50_ms
    assert seen.iqr_ms >= 0
    assert seen.wall_over_cpu > 0.9


@pytest.mark.parametrize(
    ("placement", "clock"),
    [
        (Placement(threads=1), "cpu"),
        (Placement(threads=2), "wall"),
        (Placement(threads=0), "wall"),
        (Placement(threads=1, device="cuda"), "wall"),
    ],
)
def test_cpu_time_counts_only_where_one_thread_does_all_the_work(placement, clock):
    assert clock_name(placement) == clock
