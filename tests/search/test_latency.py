from __future__ import annotations

import dataclasses

from detkit.search.latency import LatencyMeter
from detkit.spec.zoo import ZOO, with_task


def test_larger_network_takes_longer_whatever_else_runs():
    meter = LatencyMeter(threads=1)
    small = with_task(ZOO["yolo-nas-p"], 3, (96, 96))
    large = dataclasses.replace(small, image_size=(192, 192))
    assert 1.5 * meter(small) < meter(large)
    assert len(meter.reference_ms) == 2
    assert min(meter.reference_ms) > 0
