from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from detkit.engines.opening import open_session
from detkit.runtime.session import SessionOptions
from detkit.timing.cpu_time import clock_name, measure_session


def test_measure_session_gives_the_least_time_and_the_spread(
    cell_model: Callable[..., Path],
) -> None:
    session_options = SessionOptions(threads=1)
    seen = measure_session(
        open_session(cell_model(), session_options=session_options), session_options=session_options
    )
    assert 0 < seen.least_ms <= seen.p50_ms
    assert seen.iqr_ms >= 0
    assert seen.wall_over_cpu > 0.9


@pytest.mark.parametrize(
    ("session_options", "clock"),
    [
        (SessionOptions(threads=1), "cpu"),
        (SessionOptions(threads=2), "wall"),
        (SessionOptions(threads=0), "wall"),
        (SessionOptions(threads=1, device="cuda"), "wall"),
    ],
)
def test_cpu_time_counts_only_where_one_thread_does_all_the_work(
    session_options: SessionOptions, clock: str
) -> None:
    assert clock_name(session_options) == clock
