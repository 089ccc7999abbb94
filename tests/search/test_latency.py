from __future__ import annotations

import dataclasses

import pytest

from detkit.codec import to_json
from detkit.config import SearchConfig
from detkit.errors import UsageError
from detkit.prototype import Setup
from detkit.report import HardwareProfile, LatencyFit
from detkit.runtime import Placement
from detkit.search.latency import LatencyMeter, latency_text, make_latency
from detkit.spec.space import SPACES
from detkit.spec.zoo import ZOO, with_task

TINY = SPACES["tiny"].for_task(3, (64, 64))


@pytest.mark.parametrize(
    ("runtime", "precision"), [("onnxruntime", "fp32"), ("onnxruntime", "int8"), ("torch", "fp32")]
)
def test_larger_network_takes_longer_whatever_else_runs(runtime, precision):
    placement = Placement(threads=1)
    meter = LatencyMeter(Setup(runtime=runtime, precision=precision, placement=placement))
    small = with_task(ZOO["yolo-nas-p"], 3, (96, 96))
    large = dataclasses.replace(small, image_size=(192, 192))
    assert 1.5 * meter(small) < meter(large)
    assert len(meter.reference_ms) == 2
    assert min(meter.reference_ms) > 0


def test_precision_the_engine_does_not_compute_in_is_refused():
    with pytest.raises(UsageError, match="no fp16 on openvino"):
        make_latency(SearchConfig(runtime="openvino", precision="fp16"), TINY)


def test_profile_predicts_and_says_how_well(tmp_path, sample):
    fit = LatencyFit(
        features=("macs", "network"),
        weights_ms=(100.0, 0.5),
        penalty=1.0,
        samples=8,
        mape=0.09,
        spearman=0.97,
    )
    profile = sample(
        HardwareProfile,
        unit="ms",
        space_digest=TINY.digest,
        runtime="tensorrt",
        precision="fp16",
        threads=1,
        fit=fit,
    )
    path = tmp_path / "jetson.json"
    path.write_text(to_json(profile))
    config = SearchConfig(runtime="tensorrt", precision="fp16", latency_profile=str(path))
    latency = make_latency(config, TINY)
    small, large = (TINY.to_arch(p) for p in (TINY.smallest_point(), TINY.largest_point()))
    assert 0.5 < latency(small) < latency(large)
    assert latency.error == 0.09
    assert latency_text(7.4, latency.error) == "predicted 7.40 ms +- 9%"
