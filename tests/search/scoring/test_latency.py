from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from detkit.config import SearchConfig
from detkit.core.errors import UsageError
from detkit.core.serialization import to_json
from detkit.report import HardwareProfile, LatencyFit
from detkit.runtime.session import SessionOptions
from detkit.search.scoring.latency import LatencyMeter, latency_text, open_predictor, timing_setup
from detkit.spec.space import SPACES
from detkit.spec.zoo import ZOO, with_task
from detkit.untrained import EngineSetup

TINY = SPACES["tiny"].for_task(3, (64, 64))


@pytest.mark.parametrize(
    ("engine", "precision"), [("onnxruntime", "fp32"), ("onnxruntime", "int8"), ("torch", "fp32")]
)
def test_larger_network_takes_longer_whatever_else_runs(engine: str, precision: str) -> None:
    session_options = SessionOptions(threads=1)
    meter = LatencyMeter(
        EngineSetup(engine=engine, precision=precision, session_options=session_options)
    )
    small = with_task(ZOO["yolo-nas-p"], 3, (96, 96))
    large = dataclasses.replace(small, image_size=(192, 192))
    first, second = meter(small), meter(large)
    assert 1.5 * first["latency_ms"] < second["latency_ms"]
    assert first["latency_bound_ms"] == first["latency_ms"]
    assert first["reference_ms"] > 0


def test_precision_the_engine_does_not_compute_in_is_refused() -> None:
    with pytest.raises(UsageError, match="no fp16 on openvino"):
        timing_setup(SearchConfig(runtime="openvino", precision="fp16"))


def test_profile_predicts_and_says_how_well(tmp_path: Path, sample: Callable[..., Any]) -> None:
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
    predict = open_predictor(config, TINY)
    small, large = (TINY.to_arch(p) for p in (TINY.smallest_point(), TINY.largest_point()))
    assert predict is not None
    found = predict(small)
    assert 0.5 < found["latency_ms"] < predict(large)["latency_ms"]
    assert found["latency_error"] == 0.09
    assert latency_text(7.4, found["latency_error"]) == "predicted 7.40 ms +- 9%"
