"""How often long work is told of."""

from __future__ import annotations

import pytest

from detkit.search.study.progress import ProgressLogger


def test_lines_come_every_ten_seconds_and_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    lines: list[str] = []
    monkeypatch.setattr("detkit.search.study.progress.time.monotonic", lambda: now[0])
    pace = ProgressLogger(lines.append)
    for left in range(20, -1, -1):
        pace(f"{left} left", left=left)
        now[0] += 4.0
    assert lines == [
        "17 left, eta 1:08",
        "14 left, eta 0:56",
        "11 left, eta 0:44",
        "8 left, eta 0:32",
        "5 left, eta 0:20",
        "2 left, eta 0:08",
        "0 left, eta 0:00",
    ]
